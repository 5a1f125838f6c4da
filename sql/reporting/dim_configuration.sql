-- One row per configuration (device, licence, …) of a company. Source: company/configurations.
select
    id as configuration_id, -- ConnectWise id; -1 is the unknown member
    name as configuration_name, -- name
    coalesce(company_id, -1) as company_id, -- company that has it
    type_name as configuration_type, -- type
    status_name as configuration_status, -- status
    coalesce(active_flag, false) as is_active, -- in use
    manufacturer_name as manufacturer, -- manufacturer
    model_number as model_number, -- model
    serial_number as serial_number, -- serial number
    purchase_date as purchased_on, -- day it was bought
    warranty_expiration_date as warranty_ends_on, -- last day of its warranty
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.company_configurations
union all
select -1, 'Unknown', -1, null, null, false, null, null, null, null, null, false, null
