-- One row per charge code: time that no client causes. Source: time/chargeCodes.
select
    id as charge_code_id, -- ConnectWise id; -1 is the unknown member
    name as charge_code_name, -- name
    name ~* '(time off|vacation|holiday|sick|leave|\mpto\M)' as is_time_off, -- its name says time off, vacation, holiday, sick, leave or PTO
    bill_time as bill_time, -- Billable, DoNotBill or NoCharge
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.time_charge_codes
union all
select -1, 'Unknown', false, null, false, null
