-- One row per member and month: sales activities assigned to them, by the local day they begin. Source:
-- fct_activity.
select
    member_id, -- who they are assigned to
    date_trunc('month', date)::date as month, -- first day of the month
    to_char(date_trunc('month', date), 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    count(*) as activities, -- calls, meetings, follow-ups
    count(*) filter (where is_closed) as activities_closed, -- of these, done
    count(*) filter (where is_overdue) as activities_overdue, -- of these, not done and past their end, as of now
    count(distinct opportunity_id) as opportunities, -- opportunities they were about
    count(distinct company_id) as companies -- clients and prospects they were with
from {{reporting}}.fct_activity
where date is not null
group by 1, 2, 3
