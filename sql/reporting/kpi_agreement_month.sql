-- One row per agreement and calendar month, and one more for each other currency that it was invoiced in: is
-- it worth it? Revenue by invoice date less the cost of
-- its additions, of hours worked (billed or not), of expenses and products. Source: fct_agreement_month.
select
    agreement_id, -- agreement
    company_id, -- client
    currency_id, -- currency of the agreement, or another one that it was invoiced in
    month, -- first day of the month
    month_id, -- the same, in dim_date
    is_running, -- ran on at least one day of the month; not in a row of another currency
    revenue_billed, -- before tax, by invoice date
    additions_cost, -- cost of additions, by day
    labour_cost, -- cost of hours worked
    expense_cost + product_cost as other_cost, -- expenses and products
    revenue_billed - additions_cost - labour_cost - expense_cost - product_cost as profit, -- revenue less all cost
    (revenue_billed - additions_cost - labour_cost - expense_cost - product_cost) / nullif(revenue_billed, 0) as margin, -- profit / revenue; empty without revenue
    hours_actual, -- hours worked
    hours_billed, -- hours billed, rounded
    hours_rounded, -- hours as rounded for billing, to the client or to the agreement
    hours_agreement, -- hours the agreement covered
    (revenue_billed - additions_cost) / nullif(hours_actual, 0) as effective_rate_actual, -- (revenue less additions' cost) an hour worked
    (revenue_billed - additions_cost) / nullif(hours_rounded, 0) as effective_rate_rounded, -- the same an hour as rounded for billing
    (revenue_billed - additions_cost - labour_cost - expense_cost - product_cost) / nullif(hours_actual, 0) as contribution_rate -- profit an hour worked
from {{reporting}}.fct_agreement_month
