-- One row per local day, stage and currency: the pipeline as it was at the end of each of the last 400 full
-- days. Open opportunities with their forecast of that day; the probability is the opportunity's, else its
-- stage's as it is now. Source: fct_opportunity_daily_all.
select
    d.date as date, -- local day
    to_char(d.date, 'YYYYMMDD')::int as date_id, -- the same, in dim_date
    coalesce(stage.id, -1) as opportunity_stage_id, -- stage that day
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    count(*) as opportunities, -- open opportunities
    sum(d.revenue) as revenue, -- forecast revenue
    sum(d.revenue * coalesce(own.probability, of_stage.probability, 0) / 100) as weighted_revenue -- forecast revenue times probability
from {{reporting}}.fct_opportunity_daily_all d
left join {{source}}.sales_stages stage on stage.id = d.opportunity_stage_id
left join {{source}}.finance_currencies currency on currency.id = d.currency_id
left join {{source}}.sales_probabilities own on own.id = d.probability_id
left join {{source}}.sales_probabilities of_stage on of_stage.id = stage.probability_id
group by 1, 2, 3, 4
