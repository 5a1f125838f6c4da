-- One row per project: budget against actual, and is it worth it? Source: fct_project.
select
    project_id, -- project
    company_id, -- client
    member_id, -- member who leads it
    currency_id, -- currency of the amounts
    is_closed, -- closed
    hours_budget, -- hours budgeted
    hours_actual, -- hours worked
    hours_billed, -- hours billed, rounded
    hours_actual / nullif(hours_budget, 0) as budget_used, -- hours worked / budgeted
    hours_actual > hours_budget as is_over_budget, -- more hours worked than budgeted
    share_complete, -- how far it is, 0 to 1, as its leader says
    hours_actual / nullif(share_complete, 0) as hours_at_completion, -- hours it will have taken if it goes on like this
    revenue_estimated, -- estimated revenue
    revenue_worked, -- billable time, expenses and products, billed yet or not; empty if in several currencies
    revenue_billed, -- invoices of the project, before tax; empty if in several currencies
    labour_cost + expense_cost + product_cost as cost, -- all cost; empty if in several currencies
    revenue_worked - labour_cost - expense_cost - product_cost as profit_worked, -- revenue worked less cost
    revenue_billed - labour_cost - expense_cost - product_cost as profit_billed, -- revenue billed less cost
    estimated_end, -- last day as planned
    actual_end, -- last day
    days_late -- behind the plan: at its end, or today if it is still open
from {{reporting}}.fct_project
