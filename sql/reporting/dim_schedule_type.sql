-- One row per schedule type. Source: schedule/types.
select
    id as schedule_type_id, -- ConnectWise id; -1 is the unknown member
    name as schedule_type_name, -- name
    name ~* '(time off|vacation|holiday|sick|leave|\mpto\M)' as is_time_off, -- its name says time off, vacation, holiday, sick, leave or PTO
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.schedule_types
union all
select -1, 'Unknown', false, false, null
