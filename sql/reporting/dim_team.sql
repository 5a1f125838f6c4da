-- One row per team of a board. Source: service/boards/teams.
select
    id as team_id, -- ConnectWise id; -1 is the unknown member
    max(name) as team_name, -- name
    coalesce(max(parent_id), -1) as board_id, -- its board
    coalesce(max(team_leader_id), -1) as leader_id, -- member who leads it
    bool_or(coalesce(default_flag, false)) as is_default, -- gets tickets that name none
    bool_and(_deleted_at is not null) as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    max(_synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_boards_teams
group by id
union all
select -1, 'Unknown', -1, -1, false, false, null
