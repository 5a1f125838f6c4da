-- One row per work role. Source: time/workRoles.
select
    id as work_role_id, -- ConnectWise id; -1 is the unknown member
    name as work_role_name, -- name
    hourly_rate as hourly_rate, -- list rate an hour
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.time_work_roles
union all
select -1, 'Unknown', null, false, false, null
