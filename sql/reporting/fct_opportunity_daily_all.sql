-- One row per local day and opportunity that was open at the end of that day, for the last 400 full days,
-- ids as ConnectWise gave them. Stage, probability and forecast are as the version said that was valid
-- then, the first one that was seen before that. kpi_pipeline_daily is what reports should read. Sources:
-- versions of sales/opportunities and of sales/opportunities/forecast, sales/opportunities/statuses.
with today as (select (now() at time zone {{time_zone}})::date as date),
versions as (
    select
        v.id, v.stage_id, v.probability_id, v.currency_id, v.primary_sales_rep_id, v.company_id, v._valid_to, v._is_first,
        case when v._is_first then coalesce(v.date_became_lead, v.date_entered, v._valid_from) else v._valid_from end as opened_at,
        coalesce(s.closed_flag, s.won_flag or s.lost_flag, v.closed_date is not null) as is_closed,
        coalesce(v.closed_date, v.last_updated) as closed_at
    from {{versions}}.sales_opportunities v
    left join {{source}}.sales_opportunities_statuses s on s.id = v.status_id
    where {{only by index: v.id, opportunity_id}}
),
days as (
    select v.*, d.date, (d.date + 1)::timestamp at time zone {{time_zone}} as ends_at
    from versions v
    cross join today
    cross join lateral (
        select generate_series(
            greatest((v.opened_at at time zone {{time_zone}})::date, today.date - 400),
            -- closed when it was first seen: open until the day it says, else until its last change
            least((case when v.is_closed then v.closed_at else v._valid_to end at time zone {{time_zone}})::date, today.date) - 1,
            interval '1 day'
        )::date as date
    ) d
    where v.opened_at > '-infinity' and (not v.is_closed or (v._is_first and v.closed_at is not null))
      and {{only: v.id, d.date}}
)
select
    d.date as date, -- local day
    d.id as opportunity_id, -- opportunity open at the end of that day
    d.company_id as company_id, -- client or prospect that day
    d.primary_sales_rep_id as member_id, -- primary sales representative that day
    d.stage_id as opportunity_stage_id, -- stage that day
    d.probability_id as probability_id, -- its own probability that day
    d.currency_id as currency_id, -- currency that day
    coalesce(sum(f.forecast_revenue_totals_revenue), 0) as revenue, -- forecast revenue that day, all kinds
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from days d
left join {{versions}}.sales_opportunities_forecast f
    on f.parent_id = d.id and (f._is_first or f._valid_from < d.ends_at) and f._valid_to >= d.ends_at
    and {{only by index: f.parent_id, opportunity_id}}
group by 1, 2, 3, 4, 5, 6, 7
