select
    priority_id,
    priority_name,
    sort_order,
    level,
    color,
    is_deleted
from {{ source('reporting', 'dim_priority') }}
