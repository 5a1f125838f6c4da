select
    board_id,
    board_name,
    is_project_board,
    is_inactive,
    department_id,
    location_id,
    is_deleted,
    changed_at
from {{ source('reporting', 'dim_board') }}
