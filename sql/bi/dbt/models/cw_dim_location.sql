select
    location_id,
    location_name,
    is_deleted,
    changed_at
from {{ source('reporting', 'dim_location') }}
