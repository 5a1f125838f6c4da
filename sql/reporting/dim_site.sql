-- One row per site of a company. Source: company/companies/sites.
(
select distinct on (id)
    id as site_id, -- ConnectWise id; -1 is the unknown member
    name as site_name, -- name
    coalesce(parent_id, -1) as company_id, -- company whose site it is
    city as city, -- city
    state_reference_name as state, -- state
    country_name as country, -- country
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    max(_synced_at) over (partition by id) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.company_companies_sites
order by id, _deleted_at desc nulls first
)
union all
select -1, 'Unknown', -1, null, null, null, false, false, null
