-- One row per currency. Source: finance/currencies.
select
    id as currency_id, -- ConnectWise id; -1 is the unknown member
    coalesce(currency_code_name, name) as currency_name, -- name
    currency_identifier as currency_identifier, -- short name
    symbol as symbol, -- symbol
    number_of_decimals as decimals, -- decimal places
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_currencies
union all
select -1, 'Unknown', null, null, 2, false, null
