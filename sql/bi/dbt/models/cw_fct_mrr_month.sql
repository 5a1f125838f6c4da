select
    agreement_id,
    company_id,
    currency_id,
    month,
    month_id,
    mrr_base,
    mrr_additions,
    mrr
from {{ source('reporting', 'fct_mrr_month') }}
