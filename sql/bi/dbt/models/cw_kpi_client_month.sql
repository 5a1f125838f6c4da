select
    company_id,
    currency_id,
    month,
    month_id,
    revenue,
    labour_cost,
    expense_cost,
    product_cost,
    additions_cost,
    profit,
    margin,
    hours_actual,
    revenue_per_hour
from {{ source('reporting', 'kpi_client_month') }}
