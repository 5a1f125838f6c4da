select
    invoice_id,
    invoice_number,
    company_id,
    currency_id,
    billing_status_id,
    is_credit,
    date,
    due_date,
    total,
    balance,
    days_overdue,
    age_bucket,
    changed_at
from {{ source('reporting', 'fct_ar') }}
