select
    agreement_id,
    agreement_name,
    agreement_type_id,
    agreement_type,
    company_id,
    billing_cycle_id,
    currency_id,
    starts_on,
    ends_on,
    cancelled_on,
    agreement_status,
    reason_cancelled,
    is_one_time,
    bill_amount,
    is_deleted,
    changed_at
from {{ source('reporting', 'dim_agreement') }}
