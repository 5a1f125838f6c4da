-- One row per sales representative, currency and month: opportunities closed in it, by local day.
-- Source: fct_opportunity.
select
    member_id, -- primary sales representative
    currency_id, -- currency of the amounts
    date_trunc('month', closed_date)::date as month, -- first day of the month
    to_char(date_trunc('month', closed_date), 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    count(*) as opportunities_closed, -- closed, whatever came of it
    count(*) filter (where is_won) as opportunities_won, -- won
    count(*) filter (where is_lost) as opportunities_lost, -- lost
    count(*) filter (where is_won)::numeric / nullif(count(*) filter (where is_won or is_lost), 0) as win_rate, -- won / (won + lost)
    coalesce(sum(revenue) filter (where is_won), 0) as revenue_won, -- forecast revenue of the won
    coalesce(sum(revenue) filter (where is_lost), 0) as revenue_lost, -- forecast revenue of the lost
    avg(age_days) filter (where is_won) as average_cycle_days -- from lead to closing, of the won
from {{reporting}}.fct_opportunity
where not is_open and closed_date is not null
group by 1, 2, 3, 4
