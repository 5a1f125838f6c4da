-- One row per ticket priority. Source: service/priorities.
select
    id as priority_id, -- ConnectWise id; -1 is the unknown member
    name as priority_name, -- name
    sort_order as sort_order, -- most urgent first
    level as level, -- Critical, High, Medium or Low
    color as color, -- colour ConnectWise shows it in
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_priorities
union all
select -1, 'Unknown', 9999, null, null, false, null
