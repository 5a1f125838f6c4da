-- One row per open service ticket and stage of its SLA that was not reached yet: breached, due soon or
-- paused, most urgent first by goal_at. A ticket that waits for somebody else is paused, because its goal
-- moves. Merged tickets are left out. Source: fct_ticket_goal.
select
    ticket_id, -- ticket
    stage, -- respond, plan or resolve
    stage_number = min(stage_number) over (partition by ticket_id) as is_next, -- the stage that comes next: count by it to count tickets
    case
        when state = 'paused' then 'paused'
        when goal_at < now() then 'breached'
        when goal_at < now() + interval '1 hour' then 'due in 1 hour'
        when goal_at < now() + interval '4 hours' then 'due in 4 hours'
        when goal_at < now() + interval '8 hours' then 'due in 8 hours'
        when goal_at < now() + interval '24 hours' then 'due in 24 hours'
        else 'later'
    end as urgency, -- breached, due in 1, 4, 8 or 24 hours, later, or paused
    goal_at, -- when it is due
    extract(epoch from goal_at - now())::numeric / 3600 as hours_left, -- until then, around the clock; negative: since then
    entered_at, -- when the ticket came in
    company_id, -- client
    board_id, -- board
    team_id, -- team of the board
    status_id, -- status
    type_id, -- type
    priority_id, -- priority
    sla_id, -- service level agreement
    owner_id, -- member who owns it
    location_id, -- our location
    department_id -- our department
from {{reporting}}.fct_ticket_goal
where not is_closed and state in ('overdue', 'open', 'paused') and record_type = 'ServiceTicket'
