select
    agreement_id,
    company_id,
    currency_id,
    billing_cycle_id,
    month,
    month_id,
    mrr_base,
    mrr_additions,
    mrr,
    mrr_restated,
    basis,
    is_closed,
    changed_at
from {{ source('reporting', 'fct_mrr_month') }}
