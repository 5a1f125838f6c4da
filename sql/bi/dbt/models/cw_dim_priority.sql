select
    priority_id,
    priority_name,
    sort_order,
    level,
    color,
    is_deleted,
    changed_at
from {{ source('reporting', 'dim_priority') }}
