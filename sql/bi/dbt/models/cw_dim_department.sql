select
    department_id,
    department_name,
    department_identifier,
    is_deleted,
    changed_at
from {{ source('reporting', 'dim_department') }}
