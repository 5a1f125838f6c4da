-- One row per opportunity status. Source: sales/opportunities/statuses.
select
    id as opportunity_status_id, -- ConnectWise id; -1 is the unknown member
    name as opportunity_status_name, -- name
    coalesce(won_flag, false) as is_won, -- won
    coalesce(lost_flag, false) as is_lost, -- lost
    coalesce(closed_flag, false) as is_closed, -- no longer open
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.sales_opportunities_statuses
union all
select -1, 'Unknown', false, false, false, false, null
