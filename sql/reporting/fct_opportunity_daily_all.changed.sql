-- index: opportunity_id
-- index: date
select id as opportunity_id from {{source}}.sales_opportunities where _synced_at >= {{since}}
union
select parent_id from {{source}}.sales_opportunities_forecast where _synced_at >= {{since}}
union
-- also those that were closed by it on all days
select id from {{source}}.sales_opportunities
where exists (select from {{source}}.sales_opportunities_statuses where _synced_at >= {{since}})
union
-- a day has passed for those that were open at its end
select o.id
from {{source}}.sales_opportunities o
left join {{source}}.sales_opportunities_statuses s on s.id = o.status_id
where ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
  and o._deleted_at is null
  and (
    not coalesce(s.closed_flag, s.won_flag or s.lost_flag, o.closed_date is not null)
    or o.closed_date >= {{since}}::timestamptz - interval '1 day'
  )
union
select opportunity_id from {{reporting}}.fct_opportunity_daily_all
where date < (now() at time zone {{time_zone}})::date - 400
