-- One row per billing cycle, with how many months it bills at once. Source: finance/billingCycles.
select
    id as billing_cycle_id, -- ConnectWise id; -1 is the unknown member
    name as billing_cycle_name, -- name
    case billing_options
        when 'Weekly' then 12 / 52.0
        when 'BiWeekly' then 24 / 52.0
        when 'Monthly' then 1
        when 'BiMonthly' then 2
        when 'Quarterly' then 3
        when 'SemiAnnual' then 6
        when 'Yearly' then 12
    end as months, -- months that one bill covers; empty: bills once, or a cycle nobody knows
    billing_options is distinct from 'NotRecurring' as is_recurring, -- bills again and again
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_billing_cycles
union all
select -1, 'Unknown', null, true, false, null
