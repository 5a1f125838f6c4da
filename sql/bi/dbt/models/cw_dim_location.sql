select
    location_id,
    location_name,
    is_deleted
from {{ source('reporting', 'dim_location') }}
