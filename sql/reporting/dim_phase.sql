-- One row per project phase. Source: project/projects/phases.
(
select distinct on (id)
    id as phase_id, -- ConnectWise id; -1 is the unknown member
    description as phase_name, -- name
    coalesce(parent_id, -1) as project_id, -- project
    parent_phase_id as parent_phase_id, -- phase it is part of
    wbs_code as wbs_code, -- place in the work breakdown
    status_name as phase_status, -- status as the phase's record names it
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    max(_synced_at) over (partition by id) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.project_projects_phases
order by id, _deleted_at desc nulls first
)
union all
select -1, 'Unknown', -1, null, null, null, false, null
