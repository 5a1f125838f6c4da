-- One row per calendar day from 1990 to 2050, and -1 for facts that have no date. Source: dim_date_all.
select
    date_id, -- the day as a number, 20250131; -1: no date
    date, -- the day
    year, -- calendar year
    quarter, -- quarter of the year, 1 to 4
    month, -- month of the year, 1 to 12
    month_name, -- Jan, Feb, …
    month_starts_on, -- first day of its month
    week_starts_on, -- Monday of its week
    weekday, -- 1 Monday to 7 Sunday
    weekday_name, -- Mon, Tue, …
    is_weekday, -- Monday to Friday; holidays are in dim_calendar_day
    is_month_end, -- last day of its month
    date - (now() at time zone {{time_zone}})::date as days_from_today -- -1 yesterday, 0 today in the tenant's time zone
from {{reporting}}.dim_date_all
