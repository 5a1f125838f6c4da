-- One row per live opportunity. Revenue is that of its forecast, which ConnectWise keeps apart. Sources:
-- sales/opportunities, sales/opportunities/forecast, sales/probabilities, sales/stages,
-- sales/opportunities/statuses.
select
    o.id as opportunity_id, -- ConnectWise id
    o.name as opportunity_name, -- name
    coalesce(company.id, -1) as company_id, -- client or prospect
    coalesce(rep.id, -1) as member_id, -- primary sales representative
    coalesce(stage.id, -1) as opportunity_stage_id, -- stage
    coalesce(status.id, -1) as opportunity_status_id, -- status
    coalesce(type.id, -1) as opportunity_type_id, -- type
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    coalesce(status.won_flag, false) as is_won, -- won
    coalesce(status.lost_flag, false) as is_lost, -- lost
    state.is_open as is_open, -- still open, or open again
    coalesce(own.probability, of_stage.probability, 0) as probability, -- percent: the opportunity's, else its stage's
    coalesce(forecast.revenue, 0) as revenue, -- forecast revenue, all kinds
    coalesce(forecast.cost, 0) as cost, -- forecast cost
    coalesce(forecast.recurring, 0) as recurring_revenue, -- of it, recurring
    coalesce(forecast.revenue, 0) * coalesce(own.probability, of_stage.probability, 0) / 100 as weighted_revenue, -- revenue times probability
    coalesce(o.date_became_lead, o.date_entered) as began_at, -- when it became a lead, else was entered
    state.closed_at as closed_at, -- when it was closed; at its last change where ConnectWise has no date; empty: open
    (state.closed_at at time zone {{time_zone}})::date as closed_date, -- local day of it
    coalesce(to_char((state.closed_at at time zone {{time_zone}})::date, 'YYYYMMDD')::int, -1) as closed_date_id, -- the same, in dim_date
    o.expected_close_date as expected_close_date, -- day it is expected to close
    coalesce(to_char(o.expected_close_date, 'YYYYMMDD')::int, -1) as expected_close_date_id, -- the same, in dim_date
    o.pipeline_change_date as stage_changed_at, -- latest change of stage
    extract(epoch from coalesce(state.closed_at, now()) - coalesce(o.date_became_lead, o.date_entered))::numeric / 86400 as age_days, -- from lead to closing, or until now
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    greatest(o._synced_at, company._synced_at, rep._synced_at, stage._synced_at, status._synced_at, type._synced_at, currency._synced_at, own._synced_at, of_stage._synced_at, forecast.synced_at, location._synced_at, department._synced_at, case when state.closed_at is null then now() end) as changed_at -- when any column of this row last changed, by the warehouse's clock; always now while it is open, for its age
from {{source}}.sales_opportunities o
left join {{source}}.company_companies company on company.id = o.company_id
left join {{source}}.system_members rep on rep.id = o.primary_sales_rep_id
left join {{source}}.sales_stages stage on stage.id = o.stage_id
left join {{source}}.sales_opportunities_statuses status on status.id = o.status_id
-- One that was reopened may keep the date on which it had been closed.
cross join lateral (
    select is_open, case when not is_open then coalesce(o.closed_date, o.last_updated) end as closed_at
    from (select not coalesce(status.closed_flag, status.won_flag or status.lost_flag, o.closed_date is not null)) q (is_open)
) state
left join {{source}}.sales_opportunities_types type on type.id = o.type_id
left join {{source}}.finance_currencies currency on currency.id = o.currency_id
left join {{source}}.sales_probabilities own on own.id = o.probability_id
left join {{source}}.sales_probabilities of_stage on of_stage.id = stage.probability_id
left join (
    select
        parent_id,
        sum(forecast_revenue_totals_revenue) filter (where _deleted_at is null) as revenue,
        sum(forecast_revenue_totals_cost) filter (where _deleted_at is null) as cost,
        sum(recurring_total) filter (where _deleted_at is null) as recurring,
        max(_synced_at) as synced_at
    from {{source}}.sales_opportunities_forecast
    group by parent_id
) forecast on forecast.parent_id = o.id
left join {{source}}.system_locations location on location.id = o.location_id
left join {{source}}.system_departments department on department.id = o.business_unit_id
where o._deleted_at is null
