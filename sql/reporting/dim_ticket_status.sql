-- One row per ticket status of a board. Source: service/boards/statuses.
(
select distinct on (id)
    id as status_id, -- ConnectWise id; -1 is the unknown member
    name as status_name, -- name; boards may share names
    coalesce(parent_id, -1) as board_id, -- the board whose status it is
    coalesce(closed_status, false) as is_closed, -- tickets in it count as closed
    sort_order as sort_order, -- order on the board
    escalation_status as escalation_status, -- what it means to the SLA: NotResponded, Responded, ResolutionPlan, Resolved, NoEscalation
    coalesce(inactive, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    max(_synced_at) over (partition by id) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_boards_statuses
order by id, _deleted_at desc nulls first
)
union all
select -1, 'Unknown', -1, false, 0, null, false, false, null
