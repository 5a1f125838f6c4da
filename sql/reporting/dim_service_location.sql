-- One row per place where service is done: remote, on site, in house. Source: service/locations.
select
    id as service_location_id, -- ConnectWise id; -1 is the unknown member
    name as service_location_name, -- name
    "where" as done_where, -- Remote, OnSite or InHouse
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_locations
union all
select -1, 'Unknown', null, false, null
