-- One row per work type. Source: time/workTypes.
select
    id as work_type_id, -- ConnectWise id; -1 is the unknown member
    name as work_type_name, -- name
    bill_time as bill_time, -- Billable, DoNotBill or NoCharge by default
    coalesce(utilization_flag, false) as is_utilized, -- its hours count towards utilization
    cost_multiplier as cost_multiplier, -- times the member's hourly cost; empty counts as 1
    round_bill_hours_to as round_bill_hours_to, -- billed hours are rounded up to a multiple of this
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.time_work_types
union all
select -1, 'Unknown', null, false, null, null, false, false, null
