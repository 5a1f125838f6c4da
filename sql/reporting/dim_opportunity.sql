-- One row per opportunity, for facts that name one: activities, products, forecasts. Such a fact may be
-- about none, so join it outer. Revenue is in fct_opportunity. Source: sales/opportunities.
select
    o.id as opportunity_id, -- ConnectWise id; -1 is the unknown member
    o.name as opportunity_name, -- name
    coalesce(company.id, -1) as company_id, -- client or prospect
    o.stage_name as opportunity_stage, -- stage as the opportunity's record names it
    o.status_name as opportunity_status, -- status as the opportunity's record names it
    o._deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    greatest(o._synced_at, company._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.sales_opportunities o
left join {{source}}.company_companies company on company.id = o.company_id
union all
select -1, 'Unknown', -1, null, null, false, null
