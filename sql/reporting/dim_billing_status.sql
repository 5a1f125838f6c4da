-- One row per invoice status. Source: finance/billingStatuses.
select
    id as billing_status_id, -- ConnectWise id; -1 is the unknown member
    name as billing_status_name, -- name
    coalesce(closed_flag, false) as is_closed, -- invoices in it are settled
    coalesce(sent_flag, false) as is_sent, -- invoices in it were sent
    coalesce(name ~* '^void(ed)?\M', false) as is_void, -- named Void or Voided: its invoices count nowhere
    sort_order as sort_order, -- order in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_billing_statuses
union all
select -1, 'Unknown', false, false, false, 9999, false, null
