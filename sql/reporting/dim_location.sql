-- One row per location of our own company. Source: system/locations.
select
    id as location_id, -- ConnectWise id; -1 is the unknown member
    name as location_name, -- name
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.system_locations
union all
select -1, 'Unknown', false, null
