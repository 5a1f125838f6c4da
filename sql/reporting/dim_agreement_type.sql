-- One row per agreement type. Source: finance/agreements/types.
select
    id as agreement_type_id, -- ConnectWise id; -1 is the unknown member
    name as agreement_type_name, -- name
    coalesce(pre_payment_flag, false) as is_prepaid, -- paid before the work: a block of hours or an amount
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_agreements_types
union all
select -1, 'Unknown', false, false, null
