-- One row per open ticket that neither changed nor had work for seven days. Sources: service/tickets,
-- project/tickets, time/entries.
select
    ticket_id, -- ticket
    record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    summary, -- first line
    company_id, -- client
    board_id, -- board
    status_id, -- status
    owner_id, -- member who owns it
    priority_id, -- priority
    entered_at, -- when it came in
    greatest(last_updated, last_worked_at) as last_touched_at, -- latest change or work
    extract(epoch from now() - greatest(last_updated, last_worked_at))::numeric / 86400 as days_untouched -- since then
from {{reporting}}.fct_ticket
where not is_closed and not is_merged
  and greatest(last_updated, last_worked_at) < now() - interval '7 days'
