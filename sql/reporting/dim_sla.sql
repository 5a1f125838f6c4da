-- One row per service level agreement. Source: service/SLAs.
select
    id as sla_id, -- ConnectWise id; -1 is the unknown member
    name as sla_name, -- name
    based_on as based_on, -- whose calendar counts its hours
    respond_hours as respond_hours, -- hours to respond, on the SLA's calendar
    plan_within as plan_hours, -- hours to a plan
    resolution_hours as resolve_hours, -- hours to resolve
    coalesce(default_flag, false) as is_default, -- used where none is chosen
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_slas
union all
select -1, 'Unknown', null, null, null, null, false, false, null
