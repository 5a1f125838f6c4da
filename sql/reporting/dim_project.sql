-- One row per project. Source: project/projects.
select
    id as project_id, -- ConnectWise id; -1 is the unknown member
    name as project_name, -- name
    coalesce(company_id, -1) as company_id, -- client
    coalesce(manager_id, -1) as manager_id, -- member who leads it
    type_name as project_type, -- type
    coalesce(status_id, -1) as project_status_id, -- id of its status
    status_name as project_status, -- status as the project's record names it
    coalesce(board_id, -1) as board_id, -- board
    billing_method as billing_method, -- ActualRates, FixedFee, NotToExceed or OverrideRate
    coalesce(closed_flag, false) as is_closed, -- closed
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.project_projects
union all
select -1, 'Unknown', -1, -1, null, -1, null, -1, null, false, false, null
