-- One row per service or project board. Source: service/boards.
select
    id as board_id, -- ConnectWise id; -1 is the unknown member
    name as board_name, -- name
    coalesce(project_flag, false) as is_project_board, -- holds project tickets
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    coalesce(department_id, -1) as department_id, -- department the board belongs to
    coalesce(location_id, -1) as location_id, -- location the board belongs to
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_boards
union all
select -1, 'Unknown', false, false, -1, -1, false, null
