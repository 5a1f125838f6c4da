-- One row per opportunity type. Source: sales/opportunities/types.
select
    id as opportunity_type_id, -- ConnectWise id; -1 is the unknown member
    description as opportunity_type_name, -- name
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.sales_opportunities_types
union all
select -1, 'Unknown', false, false, null
