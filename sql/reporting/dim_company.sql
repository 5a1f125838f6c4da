-- One row per company: clients, prospects, vendors. Companies in ConnectWise's recycle bin are kept, see is_deleted. Source: company/companies.
select
    id as company_id, -- ConnectWise id; -1 is the unknown member
    identifier as company_identifier, -- short name
    name as company_name, -- name
    coalesce(status_id, -1) as company_status_id, -- id of its status
    status_name as company_status, -- status as the company's record names it
    coalesce(territory_id, -1) as territory_id, -- our location that looks after it
    territory_name as territory, -- name of that location
    market_name as market, -- market it is in
    city as city, -- city
    state as state, -- state
    country_name as country, -- country
    parent_company_id as parent_company_id, -- company it belongs to
    coalesce(territory_manager_id, -1) as territory_manager_id, -- member who looks after it
    coalesce(currency_id, -1) as currency_id, -- currency it is billed in
    number_of_employees as employees, -- people who work there
    coalesce(is_vendor_flag, false) as is_vendor, -- is a vendor
    date_acquired as acquired_at, -- when it became a client
    coalesce(deleted_flag, false) as is_in_recycle_bin, -- deleted in ConnectWise, which still lists it
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.company_companies
union all
select -1, 'Unknown', 'Unknown', -1, null, -1, null, null, null, null, null, null, -1, -1, null, false, null, false, false, null
