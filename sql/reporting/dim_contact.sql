-- One row per contact. Source: company/contacts.
select
    id as contact_id, -- ConnectWise id; -1 is the unknown member
    concat_ws(' ', first_name, last_name) as contact_name, -- first and last name
    coalesce(company_id, -1) as company_id, -- company they work for
    title as title, -- job title
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.company_contacts
union all
select -1, 'Unknown', -1, null, false, false, null
