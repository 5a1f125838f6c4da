-- One row per live project: what was planned, and what has become of it. Hours by time entries. An amount
-- that would add up several currencies is empty. Sources: project/projects, fct_time_entry_all,
-- fct_expense, fct_product_all, fct_invoice_all, finance/agreements.
with worked as (
    -- amounts in several currencies: their lowest and highest number differ; what is 0, as void invoices are, is in none
    select
        e.project_id, sum(e.hours_actual) as actual, sum(e.hours_billed) as billed, sum(e.labour_cost) as cost, sum(e.revenue) as revenue,
        min(coalesce(a.currency_id, c.currency_id)) filter (where e.revenue <> 0) as lowest, max(coalesce(a.currency_id, c.currency_id)) filter (where e.revenue <> 0) as highest
    from {{reporting}}.fct_time_entry_all e
    left join {{source}}.finance_agreements a on a.id = e.agreement_id
    left join {{source}}.company_companies c on c.id = e.company_id
    where not e.is_deleted and e.project_id is not null and {{only by index: e.project_id}}
    group by 1
),
spent as (
    select project_id, sum(cost) as cost, sum(revenue) as revenue, min(nullif(currency_id, -1)) as lowest, max(nullif(currency_id, -1)) as highest
    from {{reporting}}.fct_expense
    where (cost <> 0 or revenue <> 0) and {{only: project_id}}
    group by 1
),
sold as (
    select
        p.project_id, sum(p.cost) as cost, sum(p.revenue) as revenue,
        min(coalesce(a.currency_id, c.currency_id)) as lowest, max(coalesce(a.currency_id, c.currency_id)) as highest
    from {{reporting}}.fct_product_all p
    left join {{source}}.finance_agreements a on a.id = p.agreement_id
    left join {{source}}.company_companies c on c.id = p.company_id
    where p.project_id is not null and (p.cost <> 0 or p.revenue <> 0) and {{only by index: p.project_id}}
    group by 1
),
invoiced as (
    select i.project_id, sum(i.subtotal) as amount, min(c.id) as lowest, max(c.id) as highest
    from {{reporting}}.fct_invoice_all i
    left join {{source}}.finance_currencies c on c.id = i.currency_id
    where i.project_id is not null and i.subtotal <> 0 and {{only by index: i.project_id}}
    group by 1
)
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
    case when least(p.currency_id, w.lowest, e.lowest, s.lowest) is not distinct from greatest(p.currency_id, w.highest, e.highest, s.highest)
        then coalesce(w.revenue, 0) + coalesce(e.revenue, 0) + coalesce(s.revenue, 0) end as revenue_worked, -- billable time, expenses and products, billed yet or not; empty if in several currencies
    case when least(p.currency_id, i.lowest) is not distinct from greatest(p.currency_id, i.highest) then coalesce(i.amount, 0) end as revenue_billed, -- invoices of the project, before tax; empty if in several currencies
    coalesce(w.cost, 0) as labour_cost, -- cost of hours worked
    case when least(p.currency_id, e.lowest) is not distinct from greatest(p.currency_id, e.highest) then coalesce(e.cost, 0) end as expense_cost, -- expenses; empty if in several currencies
    case when least(p.currency_id, s.lowest) is not distinct from greatest(p.currency_id, s.highest) then coalesce(s.cost, 0) end as product_cost, -- products; empty if in several currencies
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
where p._deleted_at is null and {{only: p.id}}
