-- One row per local day and ticket that was open at the end of that day: the backlog, for the last 400
-- full days. Board, status, priority, owner and company are as they were that day where the change was
-- seen, else as now; -1 where ConnectWise named none, or one that it does not list. Merged tickets are
-- left out. Source: fct_ticket_daily_all.
select
    t.date, -- local day
    t.date_id, -- the same, in dim_date
    t.ticket_id, -- ticket open at the end of that day
    t.record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    coalesce(board.id, -1) as board_id, -- board that day
    coalesce(status.id, -1) as status_id, -- status that day
    coalesce(priority.id, -1) as priority_id, -- priority that day
    coalesce(owner.id, -1) as owner_id, -- owner that day
    coalesce(company.id, -1) as company_id, -- client that day
    t.age_days, -- full local days since it came in
    greatest(t.changed_at, board._synced_at, status.synced_at, priority._synced_at, owner._synced_at, company._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_ticket_daily_all t
left join {{source}}.service_boards board on board.id = t.board_id
left join (select id, max(_synced_at) as synced_at from {{source}}.service_boards_statuses group by id) status on status.id = t.status_id
left join {{source}}.service_priorities priority on priority.id = t.priority_id
left join {{source}}.system_members owner on owner.id = t.owner_id
left join {{source}}.company_companies company on company.id = t.company_id
