-- index: opportunity_id, date
-- index: date
with today as (select (now() at time zone {{time_zone}})::date as date),
edited as (
    select id from {{source}}.sales_opportunities where _synced_at >= {{since}}
    union
    select parent_id from {{source}}.sales_opportunities_forecast where _synced_at >= {{since}}
    union
    -- also those that were closed by it on all days
    select id from {{source}}.sales_opportunities
    where exists (select from {{source}}.sales_opportunities_statuses where _synced_at >= {{since}})
),
-- from when to when each was open at most
known as (
    select
        v.id,
        min(case when v._is_first then coalesce(v.date_became_lead, v.date_entered, v._valid_from) else v._valid_from end) as opened_at,
        max(case when coalesce(s.closed_flag, s.won_flag or s.lost_flag, v.closed_date is not null) then coalesce(v.closed_date, v.last_updated) else v._valid_to end) as open_to
    from {{versions}}.sales_opportunities v
    left join {{source}}.sales_opportunities_statuses s on s.id = v.status_id
    where v.id = any(array(select id from edited))
    group by 1
)
select k.id as opportunity_id, d.date::date as date
from known k
cross join today
cross join lateral generate_series(
    greatest((k.opened_at at time zone {{time_zone}})::date, today.date - 400),
    least((k.open_to at time zone {{time_zone}})::date, today.date) - 1,
    interval '1 day'
) d (date)
union
-- the days on which it was open before
select opportunity_id, date from {{reporting}}.fct_opportunity_daily_all where opportunity_id = any(array(select id from edited))
union
-- days that have passed for those that were open at their end
select o.id, d.date::date
from {{source}}.sales_opportunities o
left join {{source}}.sales_opportunities_statuses s on s.id = o.status_id
cross join today
cross join lateral generate_series(
    greatest(({{since}}::timestamptz at time zone {{time_zone}})::date, today.date - 400), today.date - 1, interval '1 day'
) d (date)
where o._deleted_at is null
  and (
    not coalesce(s.closed_flag, s.won_flag or s.lost_flag, o.closed_date is not null)
    or coalesce(o.closed_date, o.last_updated) >= {{since}}::timestamptz - interval '1 day'
  )
union
select opportunity_id, date from {{reporting}}.fct_opportunity_daily_all
where date < (now() at time zone {{time_zone}})::date - 400
