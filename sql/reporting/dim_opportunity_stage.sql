-- One row per sales stage. Source: sales/stages.
select
    id as opportunity_stage_id, -- ConnectWise id; -1 is the unknown member
    name as opportunity_stage_name, -- name
    sequence_number as sort_order, -- order of the stages
    coalesce(probability_id, -1) as probability_id, -- probability an opportunity has in it unless it says otherwise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.sales_stages
union all
select -1, 'Unknown', 9999, -1, false, null
