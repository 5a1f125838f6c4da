-- One row per way a ticket came in. Source: service/sources.
select
    id as source_id, -- ConnectWise id; -1 is the unknown member
    name as source_name, -- name
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_sources
union all
select -1, 'Unknown', false, null
