-- One row per block of 512 ticket numbers, local day, board and stage: SLA goals that are settled, ids as
-- ConnectWise gave them. Of blocks, because nothing else of a ticket never changes. kpi_sla_daily is what
-- reports should read. Source: fct_ticket_all.
with settled (ticket_block, date, board_id, stage, state) as (
    select ticket_block, respond_goal_date, board_id, 'respond', respond_settled
    from {{reporting}}.fct_ticket_all
    where respond_settled is not null and record_type = 'ServiceTicket' and not is_deleted and {{only: ticket_block}}
    union all
    select ticket_block, plan_goal_date, board_id, 'plan', plan_settled
    from {{reporting}}.fct_ticket_all
    where plan_settled is not null and record_type = 'ServiceTicket' and not is_deleted and {{only: ticket_block}}
    union all
    select ticket_block, resolve_goal_date, board_id, 'resolve', resolve_settled
    from {{reporting}}.fct_ticket_all
    where resolve_settled is not null and record_type = 'ServiceTicket' and not is_deleted and {{only: ticket_block}}
)
select
    ticket_block, -- the ticket number divided by 512
    date, -- local day on which the goal was due
    board_id, -- board now
    stage, -- respond, plan or resolve
    count(*) filter (where state = 'met')::int as met, -- reached by the goal
    count(*) filter (where state = 'missed')::int as missed, -- reached later, or closed without
    count(*) filter (where state = 'skipped')::int as skipped -- a later stage or the closing came by the goal
from settled
group by 1, 2, 3, 4
