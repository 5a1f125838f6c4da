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
        is_in_sla, budget_hours, actual_hours, last_updated, _deleted_at, _synced_at,
        responded_skipped_minutes, resplan_skipped_minutes, team_id, service_location_id, severity, impact,
        customer_updated_flag, resources, required_date, false as is_of_projects
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
        null, budget_hours, actual_hours, last_updated, _deleted_at, _synced_at,
        null, null, null, service_location_id, null, null,
        customer_updated_flag, resources, required_date, true
    from {{source}}.project_tickets
    where {{only: id}}
),
-- Older servers list project tickets among the service tickets too: one row each all the same.
single as (
    select distinct on (id)
        *,
        -- Closed without a date: at its last change, which is_close_assumed says. Reopened: not, though
        -- the record may keep the date.
        case when closed_flag then coalesce(closed_date, last_updated) end as closed_at
    from tickets
    order by id, (_deleted_at is null) desc, project_id nulls last, is_of_projects desc
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
    t.id / 512 as ticket_block, -- its number / 512: what changes of a block is counted anew
    t._deleted_at is not null as is_deleted, -- no longer in ConnectWise
    t.merged_parent_ticket_id is not null as is_merged, -- merged into another: counts nowhere, the other does
    coalesce(t.closed_flag, false) as is_closed, -- closed now
    t.parent_ticket_id is not null as is_child, -- child of another ticket; counts like any
    coalesce(t.closed_flag, false) and t.closed_date is null as is_close_assumed, -- closed without a date: closed_at is its last change
    coalesce(t.customer_updated_flag, false) as is_customer_updated, -- the client wrote last
    (t.date_entered at time zone {{time_zone}})::date as entered_date, -- local day it came in
    (t.closed_at at time zone {{time_zone}})::date as closed_date, -- local day it was closed
    coalesce(to_char(t.date_entered at time zone {{time_zone}}, 'YYYYMMDD')::int, -1) as entered_date_id, -- local day it came in, in dim_date
    coalesce(to_char(t.closed_at at time zone {{time_zone}}, 'YYYYMMDD')::int, -1) as closed_date_id, -- local day it was closed, in dim_date
    (t.respond_by_goal_utc at time zone {{time_zone}})::date as respond_goal_date, -- local day on which the response is due
    (t.resplan_goal_utc at time zone {{time_zone}})::date as plan_goal_date, -- local day on which the plan is due
    (t.resolution_goal_utc at time zone {{time_zone}})::date as resolve_goal_date, -- local day on which the resolution is due
    t.company_id as company_id, -- client
    t.board_id as board_id, -- board
    t.status_id as status_id, -- status now
    t.priority_id as priority_id, -- priority
    t.owner_id as owner_id, -- member who owns it
    t.record_type as record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    t.site_id as site_id, -- site of the client
    t.contact_id as contact_id, -- who asked
    t.type_id as type_id, -- type
    t.sub_type_id as sub_type_id, -- subtype
    t.item_id as item_id, -- item
    t.sla_id as sla_id, -- service level agreement
    t.source_id as source_id, -- how it came in
    t.location_id as location_id, -- our location
    t.department_id as department_id, -- our department
    t.agreement_id as agreement_id, -- agreement it is done under
    t.project_id as project_id, -- project, of project tickets
    t.phase_id as phase_id, -- phase, of project tickets
    t.currency_id as currency_id, -- currency of its amounts
    t.parent_ticket_id as parent_ticket_id, -- ticket it is a child of
    t.merged_parent_ticket_id as merged_into_ticket_id, -- ticket it was merged into
    t.team_id as team_id, -- team of the board
    t.service_location_id as service_location_id, -- where the work is done: remote, on site, in house
    t.severity as severity, -- severity
    t.impact as impact, -- impact
    coalesce(cardinality(string_to_array(nullif(btrim(t.resources), ''), ',')), 0) as resource_count, -- members assigned
    t.required_date as required_date, -- day by which the client needs it
    t.date_entered as entered_at, -- when it came in
    t.date_responded as responded_at, -- first response
    t.date_resplan as planned_at, -- resolution plan
    t.date_resolved as resolved_at, -- resolved; a reopened ticket may keep it
    t.closed_at as closed_at, -- closed; at its last change where ConnectWise has no date; empty: open
    t.respond_minutes as respond_recorded_minutes, -- respondMinutes as ConnectWise has it, on the SLA's calendar
    t.res_plan_minutes as plan_recorded_minutes, -- resPlanMinutes as ConnectWise has it; what it counts is in kpi_sla_reading
    t.resolve_minutes as resolve_recorded_minutes, -- resolveMinutes as ConnectWise has it, waiting left out
    t.responded_skipped_minutes as respond_skipped_minutes, -- minutes until the response was skipped
    t.resplan_skipped_minutes as plan_skipped_minutes, -- minutes until the plan was skipped
    t.minutes_waiting as waiting_business_minutes, -- spent waiting, on the SLA's calendar
    extract(epoch from t.date_responded - t.date_entered)::numeric / 60 as respond_calendar_minutes, -- to the first response, around the clock
    extract(epoch from t.date_resolved - t.date_entered)::numeric / 60 as resolve_calendar_minutes, -- to the resolution, around the clock, waiting included
    extract(epoch from t.closed_at - t.date_entered)::numeric / 60 as close_calendar_minutes, -- to the closing, around the clock
    t.respond_by_goal_utc as respond_goal_at, -- response due
    t.resplan_goal_utc as plan_goal_at, -- plan due
    t.resolution_goal_utc as resolve_goal_at, -- resolution due
    t.is_in_sla as is_in_sla, -- ConnectWise's own verdict on all stages
    case
        when t.merged_parent_ticket_id is not null or t.respond_by_goal_utc is null then null
        when t.date_responded is not null then case when t.date_responded <= t.respond_by_goal_utc then 'met' else 'missed' end
        when least(t.date_resplan, t.date_resolved, t.closed_at) <= t.respond_by_goal_utc then 'skipped'
        when least(t.date_resplan, t.date_resolved, t.closed_at) is not null then 'missed'
    end as respond_settled, -- met, missed or skipped: a later stage or the closing came by the goal; empty: not settled yet, no goal, or merged
    case
        when t.merged_parent_ticket_id is not null or t.resplan_goal_utc is null then null
        when t.date_resplan is not null then case when t.date_resplan <= t.resplan_goal_utc then 'met' else 'missed' end
        when least(t.date_resolved, t.closed_at) <= t.resplan_goal_utc then 'skipped'
        when least(t.date_resolved, t.closed_at) is not null then 'missed'
    end as plan_settled, -- the same of the plan
    case
        when t.merged_parent_ticket_id is not null or t.resolution_goal_utc is null then null
        when t.date_resolved is not null then case when t.date_resolved <= t.resolution_goal_utc then 'met' else 'missed' end
        when t.closed_at <= t.resolution_goal_utc then 'skipped'
        when t.closed_at is not null then 'missed'
    end as resolve_settled, -- the same of the resolution
    t.budget_hours as budget_hours, -- hours budgeted
    t.actual_hours as ticket_hours, -- hours as the ticket's record sums them up
    coalesce(w.entries, 0) as time_entries, -- time entries on it
    coalesce(w.members, 0) as time_members, -- members with time on it
    coalesce(w.hours, 0) as hours_actual, -- actual hours of its time entries
    w.first_at as first_worked_at, -- start of its first time entry
    w.last_at as last_worked_at, -- start of its latest time entry
    t.last_updated as last_updated, -- latest change in ConnectWise
    t._synced_at as synced_at, -- when this version came into the warehouse
    t.summary as summary, -- first line
    t.resources as resources, -- login names of everybody assigned, with commas
    t.closed_by as closed_by, -- login name of who closed it
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from single t
left join worked w on w.ticket_id = t.id
