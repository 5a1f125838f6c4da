-- One row per client and month: what they answered to surveys, by local day. Sources: fct_survey,
-- fct_ticket_all.
with closed as (
    select company_id, date_trunc('month', closed_date)::date as month, count(*) as tickets
    from {{reporting}}.fct_ticket_all
    where is_closed and closed_date is not null and record_type = 'ServiceTicket' and not is_merged and not is_deleted
      and {{only: date_trunc('month', closed_date)::date}} and {{only from: closed_date, month}}
    group by 1, 2
)
select
    s.company_id as company_id, -- client
    date_trunc('month', s.answered_date)::date as month, -- first day of the month
    to_char(date_trunc('month', s.answered_date), 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    count(*) as answers, -- answers
    sum(s.points) as points, -- points of all answers
    avg(s.points) as average_points, -- points an answer gave
    count(*)::numeric / nullif(max(c.tickets), 0) as response_rate -- answers / service tickets closed in the month
from {{reporting}}.fct_survey s
left join closed c on c.company_id = s.company_id and c.month = date_trunc('month', s.answered_date)::date
where s.answered_date is not null and {{only: date_trunc('month', s.answered_date)::date}}
group by 1, 2, 3
