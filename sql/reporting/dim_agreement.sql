-- One row per agreement (contract) with a client. Source: finance/agreements.
select
    a.id as agreement_id, -- ConnectWise id; -1 is the unknown member
    a.name as agreement_name, -- name
    coalesce(type.id, -1) as agreement_type_id, -- id of its type
    a.type_name as agreement_type, -- type as the agreement's record names it
    coalesce(company.id, -1) as company_id, -- client
    coalesce(c.id, -1) as billing_cycle_id, -- how often it bills
    coalesce(currency.id, -1) as currency_id, -- currency of its amounts
    a.start_date as starts_on, -- first day
    case when coalesce(a.no_ending_date_flag, false) then null else a.end_date end as ends_on, -- last day; empty: none
    case when coalesce(a.cancelled_flag, false) then coalesce(a.date_cancelled, (a.last_updated at time zone {{time_zone}})::date) end as cancelled_on, -- first day it no longer runs; without a date, the day of the record's last change; empty: not cancelled
    a.agreement_status as agreement_status, -- Active, Cancelled, Expired or Inactive, as ConnectWise has it now
    a.reason_cancelled as reason_cancelled, -- why it was cancelled
    coalesce(a.one_time_flag, false) or coalesce(a.bill_one_time_flag, false) as is_one_time, -- billed once: no recurring revenue
    a.bill_amount as bill_amount, -- amount of one bill, additions apart
    a._deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    greatest(a._synced_at, c._synced_at, company._synced_at, type._synced_at, currency._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_agreements a
left join {{source}}.finance_billing_cycles c on c.id = a.billing_cycle_id
left join {{source}}.company_companies company on company.id = a.company_id
left join {{source}}.finance_agreements_types type on type.id = a.type_id
left join {{source}}.finance_currencies currency on currency.id = a.currency_id
union all
select -1, 'Unknown', -1, null, -1, -1, -1, null, null, null, null, null, false, null, false, null
