-- One row per live service and project ticket, merged ones included (is_merged). Every id has its row
-- in its dimension; -1 where ConnectWise names none, or one that it does not list. Local days are in
-- the tenant's time zone. Sources: service/tickets, project/tickets, time/entries, kpi_sla_minutes.
select
    t.ticket_id, -- ConnectWise's ticket number
    t.record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    t.summary, -- first line
    coalesce(company.id, -1) as company_id, -- client
    coalesce(site.id, -1) as site_id, -- site of the client
    coalesce(contact.id, -1) as contact_id, -- who asked
    coalesce(board.id, -1) as board_id, -- board
    coalesce(status.id, -1) as status_id, -- status now
    coalesce(type.id, -1) as type_id, -- type
    coalesce(subtype.id, -1) as sub_type_id, -- subtype
    coalesce(item.id, -1) as item_id, -- item
    coalesce(priority.id, -1) as priority_id, -- priority
    coalesce(sla.id, -1) as sla_id, -- service level agreement
    coalesce(source.id, -1) as source_id, -- how it came in
    coalesce(owner.id, -1) as owner_id, -- member who owns it
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    coalesce(agreement.id, -1) as agreement_id, -- agreement it is done under
    coalesce(team.id, -1) as team_id, -- team of the board
    coalesce(service_location.id, -1) as service_location_id, -- where the work is done: remote, on site, in house
    coalesce(project.id, -1) as project_id, -- project, of project tickets
    coalesce(phase.id, -1) as phase_id, -- phase, of project tickets
    t.parent_ticket_id, -- ticket it is a child of
    t.merged_into_ticket_id, -- ticket it was merged into
    t.is_merged, -- merged into another: KPIs leave it out, the other counts
    t.is_child, -- child of another ticket; KPIs count it like any
    t.is_closed, -- closed now
    t.is_close_assumed, -- closed without a date: closed_at is its last change
    t.closed_by, -- login name of who closed it
    t.severity, -- severity
    t.impact, -- impact
    t.is_customer_updated, -- the client wrote last
    t.resources, -- login names of everybody assigned, with commas
    t.resource_count, -- members assigned
    t.required_date, -- day by which the client needs it
    t.entered_at, -- when it came in
    t.responded_at, -- first response
    t.planned_at, -- resolution plan
    t.resolved_at, -- resolved; a reopened ticket may keep it
    t.closed_at, -- closed; at its last change where ConnectWise has no date; empty: open
    t.entered_date, -- local day it came in
    t.closed_date, -- local day it was closed
    t.entered_date_id, -- local day it came in, in dim_date
    t.closed_date_id, -- local day it was closed, in dim_date
    case
        when t.responded_at is null and coalesce(t.respond_skipped_minutes, 0) = 0 then null
        else coalesce(t.respond_recorded_minutes, 0) + case reading.taken_as when 'per stage' then coalesce(t.respond_skipped_minutes, 0) else 0 end
    end as respond_business_minutes, -- to the first response or to what came in its place, on the SLA's calendar, by the reading of kpi_sla_reading
    case
        when t.planned_at is null and coalesce(t.plan_skipped_minutes, 0) = 0 then null
        when reading.taken_as = 'per stage' then coalesce(t.respond_recorded_minutes, 0) + coalesce(t.plan_recorded_minutes, 0) + coalesce(t.plan_skipped_minutes, 0)
        else t.plan_recorded_minutes
    end as plan_business_minutes, -- to the resolution plan, on the SLA's calendar
    case
        when t.resolved_at is null then null
        when reading.taken_as = 'per stage' then coalesce(t.respond_recorded_minutes, 0) + coalesce(t.plan_recorded_minutes, 0) + coalesce(t.resolve_recorded_minutes, 0)
        else t.resolve_recorded_minutes
    end as resolve_business_minutes, -- to the resolution, on the SLA's calendar, waiting left out
    t.waiting_business_minutes, -- spent waiting, on the SLA's calendar
    t.respond_recorded_minutes, -- respondMinutes as ConnectWise has it
    t.plan_recorded_minutes, -- resPlanMinutes as ConnectWise has it
    t.resolve_recorded_minutes, -- resolveMinutes as ConnectWise has it
    t.respond_skipped_minutes, -- minutes until the response was skipped
    t.plan_skipped_minutes, -- minutes until the plan was skipped
    t.respond_calendar_minutes, -- to the first response, around the clock
    t.resolve_calendar_minutes, -- to the resolution, around the clock, waiting included
    t.close_calendar_minutes, -- to the closing, around the clock
    t.respond_goal_at, -- response due
    t.plan_goal_at, -- plan due
    t.resolve_goal_at, -- resolution due
    t.respond_goal_date, -- local day on which the response is due
    t.plan_goal_date, -- local day on which the plan is due
    t.resolve_goal_date, -- local day on which the resolution is due
    t.is_in_sla, -- ConnectWise's own verdict on all stages
    case
        when t.is_merged then null
        when t.respond_goal_at is null then 'no goal'
        when t.respond_settled is not null then t.respond_settled
        when status.is_paused then 'paused'
        when t.respond_goal_at < now() then 'overdue'
        else 'open'
    end as respond_state, -- of the response: met, missed, overdue (none, and past its goal), open, paused (waiting: the goal moves), skipped (a later stage or the closing came by the goal), no goal; empty: merged
    case
        when t.is_merged then null
        when t.plan_goal_at is null then 'no goal'
        when t.plan_settled is not null then t.plan_settled
        when status.is_paused then 'paused'
        when t.plan_goal_at < now() then 'overdue'
        else 'open'
    end as plan_state, -- the same of the plan
    case
        when t.is_merged then null
        when t.resolve_goal_at is null then 'no goal'
        when t.resolve_settled is not null then t.resolve_settled
        when status.is_paused then 'paused'
        when t.resolve_goal_at < now() then 'overdue'
        else 'open'
    end as resolve_state, -- the same of the resolution
    case when t.respond_settled = 'met' then true when t.respond_settled = 'missed' or (not t.is_merged and t.respond_settled is null and t.respond_goal_at < now() and not coalesce(status.is_paused, false)) then false end as is_respond_met, -- responded by the goal; no: later, or not yet and overdue; empty: anything else
    case when t.plan_settled = 'met' then true when t.plan_settled = 'missed' or (not t.is_merged and t.plan_settled is null and t.plan_goal_at < now() and not coalesce(status.is_paused, false)) then false end as is_plan_met, -- planned by the goal, the same way
    case when t.resolve_settled = 'met' then true when t.resolve_settled = 'missed' or (not t.is_merged and t.resolve_settled is null and t.resolve_goal_at < now() and not coalesce(status.is_paused, false)) then false end as is_resolve_met, -- resolved by the goal, the same way
    t.budget_hours, -- hours budgeted
    t.ticket_hours, -- hours as the ticket's record sums them up
    t.time_entries, -- time entries on it
    t.time_members, -- members with time on it
    t.hours_actual, -- actual hours of its time entries
    t.first_worked_at, -- start of its first time entry
    t.last_worked_at, -- start of its latest time entry
    t.last_updated, -- latest change in ConnectWise
    t.synced_at, -- when this version came into the warehouse
    greatest(
        t.changed_at, reading.changed_at, company._synced_at, contact._synced_at, board._synced_at, service_location._synced_at, priority._synced_at, sla._synced_at, source._synced_at, owner._synced_at, location._synced_at, department._synced_at, agreement._synced_at, project._synced_at, site.synced_at, status.synced_at, type.synced_at, subtype.synced_at, item.synced_at, team.synced_at, phase.synced_at,
        case when t.respond_goal_at < now() then t.respond_goal_at end, case when t.plan_goal_at < now() then t.plan_goal_at end, case when t.resolve_goal_at < now() then t.resolve_goal_at end
    ) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_ticket_all t
cross join {{reporting}}.kpi_sla_minutes reading
left join {{source}}.company_companies company on company.id = t.company_id
left join (select id, max(_synced_at) as synced_at from {{source}}.company_companies_sites group by id) site on site.id = t.site_id
left join {{source}}.company_contacts contact on contact.id = t.contact_id
left join {{source}}.service_boards board on board.id = t.board_id
left join (
    select id, max(escalation_status) = 'NoEscalation' as is_paused, max(_synced_at) as synced_at from {{source}}.service_boards_statuses group by id
) status on status.id = t.status_id
left join (select id, max(_synced_at) as synced_at from {{source}}.service_boards_types group by id) type on type.id = t.type_id
left join (select id, max(_synced_at) as synced_at from {{source}}.service_boards_subtypes group by id) subtype on subtype.id = t.sub_type_id
left join (select id, max(_synced_at) as synced_at from {{source}}.service_boards_items group by id) item on item.id = t.item_id
left join (select id, max(_synced_at) as synced_at from {{source}}.service_boards_teams group by id) team on team.id = t.team_id
left join {{source}}.service_locations service_location on service_location.id = t.service_location_id
left join {{source}}.service_priorities priority on priority.id = t.priority_id
left join {{source}}.service_slas sla on sla.id = t.sla_id
left join {{source}}.service_sources source on source.id = t.source_id
left join {{source}}.system_members owner on owner.id = t.owner_id
left join {{source}}.system_locations location on location.id = t.location_id
left join {{source}}.system_departments department on department.id = t.department_id
left join {{source}}.finance_agreements agreement on agreement.id = t.agreement_id
left join {{source}}.project_projects project on project.id = t.project_id
left join (select id, max(_synced_at) as synced_at from {{source}}.project_projects_phases group by id) phase on phase.id = t.phase_id
where not t.is_deleted
