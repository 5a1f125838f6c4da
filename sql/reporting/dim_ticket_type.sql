-- One row per ticket type of a board. Source: service/boards/types.
(
select distinct on (id)
    id as type_id, -- ConnectWise id; -1 is the unknown member
    name as type_name, -- name; boards may share names
    coalesce(parent_id, -1) as board_id, -- the board it belongs to
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    max(_synced_at) over (partition by id) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_boards_types
order by id, _deleted_at desc nulls first
)
union all
select -1, 'Unknown', -1, false, false, null
