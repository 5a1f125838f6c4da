select
    department_id,
    department_name,
    department_identifier,
    is_deleted
from {{ source('reporting', 'dim_department') }}
