-- One row per live service and project ticket, merged ones included (is_merged). Every id has its row
-- in its dimension; -1 where ConnectWise names none, or one that it does not list. Local days are in
-- the tenant's time zone. Sources: service/tickets, project/tickets, time/entries.
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
    coalesce(project.id, -1) as project_id, -- project, of project tickets
    coalesce(phase.id, -1) as phase_id, -- phase, of project tickets
    t.parent_ticket_id, -- ticket it is a child of
    t.merged_into_ticket_id, -- ticket it was merged into
    t.is_merged, -- merged into another: KPIs leave it out, the other counts
    t.is_child, -- child of another ticket; KPIs count it like any
    t.is_closed, -- closed now
    t.closed_by, -- login name of who closed it
    t.entered_at, -- when it came in
    t.responded_at, -- first response
    t.planned_at, -- resolution plan
    t.resolved_at, -- resolved; a reopened ticket may keep it
    t.closed_at, -- closed
    t.entered_date, -- local day it came in
    t.closed_date, -- local day it was closed
    coalesce(to_char(t.entered_date, 'YYYYMMDD')::int, -1) as entered_date_id, -- local day it came in, in dim_date
    coalesce(to_char(t.closed_date, 'YYYYMMDD')::int, -1) as closed_date_id, -- local day it was closed, in dim_date
    t.respond_business_minutes, -- to the first response, on the SLA's calendar, as ConnectWise counted
    t.plan_business_minutes, -- to the resolution plan, on the SLA's calendar
    t.resolve_business_minutes, -- to the resolution, on the SLA's calendar, waiting left out
    t.waiting_business_minutes, -- spent waiting, on the SLA's calendar
    t.respond_calendar_minutes, -- to the first response, around the clock
    t.resolve_calendar_minutes, -- to the resolution, around the clock, waiting included
    t.close_calendar_minutes, -- to the closing, around the clock
    t.respond_goal_at, -- response due
    t.plan_goal_at, -- plan due
    t.resolve_goal_at, -- resolution due
    t.is_in_sla, -- ConnectWise's own verdict on all stages
    t.is_respond_met, -- responded by the goal; empty without either
    t.is_plan_met, -- planned by the goal; empty without either
    t.is_resolve_met, -- resolved by the goal; empty without either
    t.budget_hours, -- hours budgeted
    t.ticket_hours, -- hours as the ticket's record sums them up
    t.time_entries, -- time entries on it
    t.time_members, -- members with time on it
    t.hours_actual, -- actual hours of its time entries
    t.first_worked_at, -- start of its first time entry
    t.last_worked_at, -- start of its latest time entry
    t.last_updated, -- latest change in ConnectWise
    t.synced_at -- when this version came into the warehouse
from {{reporting}}.fct_ticket_all t
left join {{source}}.company_companies company on company.id = t.company_id
left join (select distinct id from {{source}}.company_companies_sites) site on site.id = t.site_id
left join {{source}}.company_contacts contact on contact.id = t.contact_id
left join {{source}}.service_boards board on board.id = t.board_id
left join (select distinct id from {{source}}.service_boards_statuses) status on status.id = t.status_id
left join (select distinct id from {{source}}.service_boards_types) type on type.id = t.type_id
left join (select distinct id from {{source}}.service_boards_subtypes) subtype on subtype.id = t.sub_type_id
left join (select distinct id from {{source}}.service_boards_items) item on item.id = t.item_id
left join {{source}}.service_priorities priority on priority.id = t.priority_id
left join {{source}}.service_slas sla on sla.id = t.sla_id
left join {{source}}.service_sources source on source.id = t.source_id
left join {{source}}.system_members owner on owner.id = t.owner_id
left join {{source}}.system_locations location on location.id = t.location_id
left join {{source}}.system_departments department on department.id = t.department_id
left join {{source}}.finance_agreements agreement on agreement.id = t.agreement_id
left join {{source}}.project_projects project on project.id = t.project_id
left join (select distinct id from {{source}}.project_projects_phases) phase on phase.id = t.phase_id
where not t.is_deleted
