-- One row per service and project ticket, deleted ones included, ids as ConnectWise gave them.
-- fct_ticket is what reports should read. Sources: service/tickets, project/tickets, time/entries.
with tickets as (
    select
        id, coalesce(record_type, 'ServiceTicket') as record_type, summary, company_id, site_id, contact_id,
        board_id, status_id, type_id, sub_type_id, item_id, priority_id, sla_id, source_id, owner_id,
        location_id, department_id, agreement_id, null::bigint as project_id, null::bigint as phase_id,
        currency_id, parent_ticket_id, merged_parent_ticket_id, closed_flag, closed_by, date_entered,
        date_responded, date_resplan, date_resolved, closed_date, respond_minutes, res_plan_minutes,
        resolve_minutes, minutes_waiting, respond_by_goal_utc, resplan_goal_utc, resolution_goal_utc,
        is_in_sla, budget_hours, actual_hours, last_updated, _deleted_at, _synced_at
    from {{source}}.service_tickets
    where {{only: id}}
    union all
    select
        id, case when is_issue_flag then 'ProjectIssue' else 'ProjectTicket' end, summary, company_id, site_id, contact_id,
        board_id, status_id, type_id, sub_type_id, item_id, priority_id, null, source_id, owner_id,
        location_id, department_id, agreement_id, project_id, phase_id,
        currency_id, null, null, closed_flag, closed_by, date_entered,
        null, null, null, closed_date, null, null,
        null, null, null, null, null,
        null, budget_hours, actual_hours, last_updated, _deleted_at, _synced_at
    from {{source}}.project_tickets
    where {{only: id}}
),
-- Older servers list project tickets among the service tickets too: one row each all the same.
single as (
    select distinct on (id) * from tickets order by id, (_deleted_at is null) desc, project_id nulls last
),
worked as (
    select
        ticket_id,
        count(*) as entries,
        count(distinct member_id) as members,
        sum(actual_hours) as hours,
        min(time_start) as first_at,
        max(time_start) as last_at
    from {{source}}.time_entries
    where _deleted_at is null and ticket_id is not null and {{only: ticket_id}}
    group by ticket_id
)
select
    t.id as ticket_id, -- ConnectWise's ticket number
    t.record_type as record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    t.summary as summary, -- first line
    t.company_id as company_id, -- client
    t.site_id as site_id, -- site of the client
    t.contact_id as contact_id, -- who asked
    t.board_id as board_id, -- board
    t.status_id as status_id, -- status now
    t.type_id as type_id, -- type
    t.sub_type_id as sub_type_id, -- subtype
    t.item_id as item_id, -- item
    t.priority_id as priority_id, -- priority
    t.sla_id as sla_id, -- service level agreement
    t.source_id as source_id, -- how it came in
    t.owner_id as owner_id, -- member who owns it
    t.location_id as location_id, -- our location
    t.department_id as department_id, -- our department
    t.agreement_id as agreement_id, -- agreement it is done under
    t.project_id as project_id, -- project, of project tickets
    t.phase_id as phase_id, -- phase, of project tickets
    t.currency_id as currency_id, -- currency of its amounts
    t.parent_ticket_id as parent_ticket_id, -- ticket it is a child of
    t.merged_parent_ticket_id as merged_into_ticket_id, -- ticket it was merged into
    t.merged_parent_ticket_id is not null as is_merged, -- merged into another: counts nowhere, the other does
    t.parent_ticket_id is not null as is_child, -- child of another ticket; counts like any
    coalesce(t.closed_flag, false) as is_closed, -- closed now
    t.closed_by as closed_by, -- login name of who closed it
    t._deleted_at is not null as is_deleted, -- no longer in ConnectWise
    t.date_entered as entered_at, -- when it came in
    t.date_responded as responded_at, -- first response
    t.date_resplan as planned_at, -- resolution plan
    t.date_resolved as resolved_at, -- resolved; a reopened ticket may keep it
    t.closed_date as closed_at, -- closed
    (t.date_entered at time zone {{time_zone}})::date as entered_date, -- local day it came in
    (t.closed_date at time zone {{time_zone}})::date as closed_date, -- local day it was closed
    t.respond_minutes as respond_business_minutes, -- to the first response, on the SLA's calendar, as ConnectWise counted
    t.res_plan_minutes as plan_business_minutes, -- to the resolution plan, on the SLA's calendar
    t.resolve_minutes as resolve_business_minutes, -- to the resolution, on the SLA's calendar, waiting left out
    t.minutes_waiting as waiting_business_minutes, -- spent waiting, on the SLA's calendar
    extract(epoch from t.date_responded - t.date_entered)::numeric / 60 as respond_calendar_minutes, -- to the first response, around the clock
    extract(epoch from t.date_resolved - t.date_entered)::numeric / 60 as resolve_calendar_minutes, -- to the resolution, around the clock, waiting included
    extract(epoch from t.closed_date - t.date_entered)::numeric / 60 as close_calendar_minutes, -- to the closing, around the clock
    t.respond_by_goal_utc as respond_goal_at, -- response due
    t.resplan_goal_utc as plan_goal_at, -- plan due
    t.resolution_goal_utc as resolve_goal_at, -- resolution due
    t.is_in_sla as is_in_sla, -- ConnectWise's own verdict on all stages
    t.date_responded <= t.respond_by_goal_utc as is_respond_met, -- responded by the goal; empty without either
    t.date_resplan <= t.resplan_goal_utc as is_plan_met, -- planned by the goal; empty without either
    t.date_resolved <= t.resolution_goal_utc as is_resolve_met, -- resolved by the goal; empty without either
    t.budget_hours as budget_hours, -- hours budgeted
    t.actual_hours as ticket_hours, -- hours as the ticket's record sums them up
    coalesce(w.entries, 0) as time_entries, -- time entries on it
    coalesce(w.members, 0) as time_members, -- members with time on it
    coalesce(w.hours, 0) as hours_actual, -- actual hours of its time entries
    w.first_at as first_worked_at, -- start of its first time entry
    w.last_at as last_worked_at, -- start of its latest time entry
    t.last_updated as last_updated, -- latest change in ConnectWise
    t._synced_at as synced_at -- when this version came into the warehouse
from single t
left join worked w on w.ticket_id = t.id
