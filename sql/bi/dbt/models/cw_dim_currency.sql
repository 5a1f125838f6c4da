select
    currency_id,
    currency_name,
    currency_identifier,
    symbol,
    decimals,
    is_deleted,
    changed_at
from {{ source('reporting', 'dim_currency') }}
