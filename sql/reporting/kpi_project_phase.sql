-- One row per live project phase: budget against work, and its tickets. Hours by time entries. Sources:
-- project/projects/phases, fct_time_entry_all, fct_ticket_all.
with worked as (
    select project_id, phase_id, sum(hours_actual) as actual, sum(hours_billed) as billed, sum(labour_cost) as cost, max(work_date) as last_on
    from {{reporting}}.fct_time_entry_all
    where not is_deleted and phase_id is not null
    group by 1, 2
),
tickets as (
    select project_id, phase_id, count(*) as tickets, count(*) filter (where is_closed) as closed, sum(budget_hours) as budget
    from {{reporting}}.fct_ticket_all
    where not is_deleted and phase_id is not null
    group by 1, 2
)
select
    p.id as phase_id, -- phase
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
