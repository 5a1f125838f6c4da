-- One row per activity type. Source: sales/activities/types.
select
    id as activity_type_id, -- ConnectWise id; -1 is the unknown member
    name as activity_type_name, -- name
    points as points, -- points it earns
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.sales_activities_types
union all
select -1, 'Unknown', 0, false, null
