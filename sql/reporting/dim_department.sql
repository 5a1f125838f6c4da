-- One row per department (business unit). Source: system/departments.
select
    id as department_id, -- ConnectWise id; -1 is the unknown member
    name as department_name, -- name
    identifier as department_identifier, -- short name
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.system_departments
union all
select -1, 'Unknown', null, false, null
