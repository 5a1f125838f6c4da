-- index: opportunity_id
-- index: date
select id as opportunity_id from {{source}}.sales_opportunities where _synced_at >= {{since}}
union
select parent_id from {{source}}.sales_opportunities_forecast where _synced_at >= {{since}}
union
select opportunity_id from {{reporting}}.fct_opportunity_daily_all
where exists (select from {{source}}.sales_opportunities_statuses where _synced_at >= {{since}})
union
-- days have passed: one more for those still open, one less for the oldest
select id from {{source}}.sales_opportunities
where _deleted_at is null
  and (select max(date) from {{reporting}}.fct_opportunity_daily_all) < (now() at time zone {{time_zone}})::date - 1
union
select opportunity_id from {{reporting}}.fct_opportunity_daily_all
where date < (now() at time zone {{time_zone}})::date - 400
