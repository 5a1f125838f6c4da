-- One row per stage, currency and month of expected close: what is open and what it is worth.
-- Source: fct_opportunity.
select
    opportunity_stage_id, -- stage
    currency_id, -- currency of the amounts
    date_trunc('month', expected_close_date)::date as month, -- first day of the month it is expected to close; empty: no date
    coalesce(to_char(date_trunc('month', expected_close_date), 'YYYYMMDD')::int, -1) as month_id, -- the same, in dim_date
    count(*) as opportunities, -- open opportunities
    sum(revenue) as revenue, -- forecast revenue
    sum(weighted_revenue) as weighted_revenue, -- forecast revenue times probability
    sum(recurring_revenue) as recurring_revenue, -- of the revenue, recurring
    sum(age_days) as age_days -- sum of their ages, for averages
from {{reporting}}.fct_opportunity
where is_open
group by 1, 2, 3, 4
