-- One row per live project phase: budget against work, and its tickets; and one per live project for what is
-- in none of its phases (phase_id -1), so that a project's rows add up to it. Hours by time entries. Sources:
-- project/projects/phases, fct_time_entry_all, fct_ticket_all.
with phases as (select id, parent_id from {{source}}.project_projects_phases where _deleted_at is null),
worked as (
    select e.project_id, p.id as phase_id, sum(e.hours_actual) as actual, sum(e.hours_billed) as billed, sum(e.labour_cost) as cost, max(e.work_date) as last_on
    from {{reporting}}.fct_time_entry_all e
    left join phases p on p.id = e.phase_id and p.parent_id = e.project_id
    where not e.is_deleted and e.project_id is not null
    group by 1, 2
),
tickets as (
    select t.project_id, p.id as phase_id, count(*) as tickets, count(*) filter (where t.is_closed) as closed
    from {{reporting}}.fct_ticket_all t
    left join phases p on p.id = t.phase_id and p.parent_id = t.project_id
    where not t.is_deleted and t.project_id is not null
    group by 1, 2
)
select
    p.id as phase_id, -- phase; -1: in none, or in one that is no longer there
    coalesce(project.id, -1) as project_id, -- project
    coalesce(company.id, -1) as company_id, -- client
    p.description as phase_name, -- name
    p.wbs_code as wbs_code, -- place in the work breakdown
    p.status_name as status, -- status
    coalesce(p.mark_as_milestone_flag, false) as is_milestone, -- a milestone
    p.budget_hours as hours_budget, -- hours budgeted
    p.scheduled_hours as hours_scheduled, -- hours scheduled
    coalesce(w.actual, 0) as hours_actual, -- hours worked
    coalesce(w.billed, 0) as hours_billed, -- hours billed, rounded
    coalesce(w.cost, 0) as labour_cost, -- cost of the hours worked
    w.actual / nullif(p.budget_hours, 0) as budget_used, -- hours worked / budgeted
    coalesce(w.actual > p.budget_hours and p.budget_hours > 0, false) as is_over_budget, -- more hours worked than budgeted
    coalesce(t.tickets, 0) as tickets, -- its tickets
    coalesce(t.closed, 0) as tickets_closed, -- of these, closed
    t.closed::numeric / nullif(t.tickets, 0) as share_closed, -- closed / all
    p.deadline_date as deadline, -- day by which it has to be done
    w.last_on as last_worked_on -- local day of the latest work
from {{source}}.project_projects_phases p
left join {{source}}.project_projects project on project.id = p.parent_id
left join {{source}}.company_companies company on company.id = project.company_id
left join worked w on w.phase_id = p.id and w.project_id = p.parent_id
left join tickets t on t.phase_id = p.id and t.project_id = p.parent_id
where p._deleted_at is null
union all
select
    -1, p.id, coalesce(company.id, -1), 'No phase', null, null, false, null, null,
    coalesce(w.actual, 0), coalesce(w.billed, 0), coalesce(w.cost, 0), null, false,
    coalesce(t.tickets, 0), coalesce(t.closed, 0), t.closed::numeric / nullif(t.tickets, 0), null, w.last_on
from {{source}}.project_projects p
left join {{source}}.company_companies company on company.id = p.company_id
left join worked w on w.phase_id is null and w.project_id = p.id
left join tickets t on t.phase_id is null and t.project_id = p.id
where p._deleted_at is null and (w.project_id is not null or t.project_id is not null)
