-- One row per live project: what was planned, and what has become of it. Hours by time entries.
-- Sources: project/projects, time/entries, expense/entries, procurement/products, finance/invoices.
with worked as (
    select project_id, sum(hours_actual) as actual, sum(hours_billed) as billed, sum(labour_cost) as cost, sum(revenue) as revenue
    from {{reporting}}.fct_time_entry_all
    where not is_deleted and project_id is not null
    group by 1
),
spent as (select project_id, sum(cost) as cost, sum(revenue) as revenue from {{reporting}}.fct_expense group by 1),
sold as (select project_id, sum(cost) as cost, sum(revenue) as revenue from {{reporting}}.fct_product group by 1),
invoiced as (select project_id, sum(subtotal) as amount from {{reporting}}.fct_invoice group by 1)
select
    p.id as project_id, -- project
    coalesce(company.id, -1) as company_id, -- client
    coalesce(manager.id, -1) as member_id, -- member who leads it
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    coalesce(p.closed_flag, false) as is_closed, -- closed
    p.budget_hours as hours_budget, -- hours budgeted
    p.estimated_hours as hours_estimated, -- hours estimated
    p.actual_hours as hours_project, -- hours as the project's record sums them up
    coalesce(w.actual, 0) as hours_actual, -- hours worked
    coalesce(w.billed, 0) as hours_billed, -- hours billed, rounded
    coalesce(p.estimated_time_revenue, 0) + coalesce(p.estimated_expense_revenue, 0) + coalesce(p.estimated_product_revenue, 0) as revenue_estimated, -- estimated revenue
    coalesce(p.estimated_time_cost, 0) + coalesce(p.estimated_expense_cost, 0) + coalesce(p.estimated_product_cost, 0) as cost_estimated, -- estimated cost
    coalesce(w.revenue, 0) + coalesce(e.revenue, 0) + coalesce(s.revenue, 0) as revenue_worked, -- billable time, expenses and products, billed yet or not
    coalesce(i.amount, 0) as revenue_billed, -- invoices of the project, before tax
    coalesce(w.cost, 0) as labour_cost, -- cost of hours worked
    coalesce(e.cost, 0) as expense_cost, -- expenses
    coalesce(s.cost, 0) as product_cost, -- products
    p.percent_complete as share_complete, -- how far it is, 0 to 1, as its leader says
    p.estimated_start as estimated_start, -- first day as planned
    p.estimated_end as estimated_end, -- last day as planned
    p.actual_start as actual_start, -- first day
    p.actual_end as actual_end, -- last day
    coalesce(p.actual_end, case when not coalesce(p.closed_flag, false) then greatest((now() at time zone {{time_zone}})::date, p.estimated_end) end)
        - p.estimated_end as days_late, -- behind the plan: at its end, or today if it is still open
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.project_projects p
left join {{source}}.company_companies company on company.id = p.company_id
left join {{source}}.system_members manager on manager.id = p.manager_id
left join {{source}}.finance_currencies currency on currency.id = p.currency_id
left join worked w on w.project_id = p.id
left join spent e on e.project_id = p.id
left join sold s on s.project_id = p.id
left join invoiced i on i.project_id = p.id
where p._deleted_at is null
