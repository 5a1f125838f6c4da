select
    currency_id,
    currency_name,
    currency_identifier,
    symbol,
    decimals,
    is_deleted
from {{ source('reporting', 'dim_currency') }}
