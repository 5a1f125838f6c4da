-- One row per open ticket, with every key and what it waits for: nobody is assigned, nobody has responded,
-- the client wrote last, nothing is scheduled, untouched for a week, past a goal. Count by any key. Merged
-- tickets are left out. Sources: fct_ticket, service/boards/statuses, schedule/entries.
with stages as (
    select id, max(escalation_status) as stage from {{source}}.service_boards_statuses group by id
),
scheduled as (
    select s.object_id as ticket_id, min(s.date_start) filter (where s.date_end >= now()) as next_at
    from {{source}}.schedule_entries s
    join {{source}}.schedule_types t on t.id = s.type_id and t.identifier = 'S'
    where s._deleted_at is null and not coalesce(s.done_flag, false) and s.object_id is not null
    group by 1
)
select
    t.ticket_id, -- ticket
    t.record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    t.summary, -- first line
    t.company_id, -- client
    t.site_id, -- site of the client
    t.contact_id, -- who asked
    t.board_id, -- board
    t.team_id, -- team of the board
    t.status_id, -- status
    t.type_id, -- type
    t.sub_type_id, -- subtype
    t.item_id, -- item
    t.priority_id, -- priority
    t.sla_id, -- service level agreement
    t.source_id, -- how it came in
    t.owner_id, -- member who owns it
    t.location_id, -- our location
    t.department_id, -- our department
    t.service_location_id, -- where the work is done
    t.agreement_id, -- agreement it is done under
    t.project_id, -- project, of project tickets
    t.phase_id, -- phase, of project tickets
    t.entered_at, -- when it came in
    t.entered_date, -- local day it came in
    (now() at time zone {{time_zone}})::date - t.entered_date as age_days, -- local days since it came in
    t.resource_count, -- members assigned
    t.hours_actual, -- actual hours of its time entries
    t.budget_hours, -- hours budgeted
    t.owner_id = -1 and t.resource_count = 0 as is_unassigned, -- neither owner nor anybody assigned
    coalesce(stages.stage = 'NotResponded', t.responded_at is null and t.time_entries = 0) as is_new, -- its status means that nobody has responded; where the status says nothing: no response and no work
    t.is_customer_updated, -- the client wrote last
    coalesce(stages.stage = 'NoEscalation', false) as is_waiting, -- its status means that it waits for somebody else
    scheduled.next_at as scheduled_at, -- when somebody is to work on it next
    scheduled.next_at is null as is_unscheduled, -- nothing is scheduled from now on
    greatest(t.last_updated, t.last_worked_at) as last_touched_at, -- latest change or work
    extract(epoch from now() - greatest(t.last_updated, t.last_worked_at))::numeric / 86400 as days_untouched, -- since then
    coalesce(greatest(t.last_updated, t.last_worked_at) < now() - interval '7 days', false) as is_untouched, -- neither changed nor worked on for seven days
    'overdue' in (t.respond_state, t.plan_state, t.resolve_state) as is_breached, -- past a goal of its SLA that it did not reach yet
    least(
        case when t.respond_state in ('overdue', 'open') then t.respond_goal_at end,
        case when t.plan_state in ('overdue', 'open') then t.plan_goal_at end,
        case when t.resolve_state in ('overdue', 'open') then t.resolve_goal_at end
    ) as next_goal_at -- its most urgent goal; empty: none, or it waits
from {{reporting}}.fct_ticket t
left join stages on stages.id = t.status_id
left join scheduled on scheduled.ticket_id = t.ticket_id and t.record_type = 'ServiceTicket'
where not t.is_closed and not t.is_merged
