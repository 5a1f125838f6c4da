-- One row per working calendar and day, from five years ago to a year ahead. Calendar -1 works Monday
-- to Friday without holidays. Sources: schedule/calendars, schedule/holidayLists/holidays.
with calendars as (
    select
        id,
        holiday_list_id,
        array[monday_start_time, tuesday_start_time, wednesday_start_time, thursday_start_time,
              friday_start_time, saturday_start_time, sunday_start_time] as opens,
        array[monday_end_time, tuesday_end_time, wednesday_end_time, thursday_end_time,
              friday_end_time, saturday_end_time, sunday_end_time] as closes
    from {{source}}.schedule_calendars
    union all
    select -1, null, array['08', '08', '08', '08', '08', null, null], array['17', '17', '17', '17', '17', null, null]
),
holidays as (
    select parent_id as holiday_list_id, date, min(name) as name
    from {{source}}.schedule_holiday_lists_holidays
    where _deleted_at is null and coalesce(all_day_flag, true)
    group by 1, 2
)
select
    c.id as calendar_id, -- ConnectWise id; -1: members without a calendar
    d::date as date, -- the day
    h.date is not null as is_holiday, -- an all-day holiday of the calendar's list
    h.name as holiday_name, -- its name
    h.date is null
        and c.opens[extract(isodow from d)] is not null
        and c.opens[extract(isodow from d)] <> c.closes[extract(isodow from d)] as is_working_day -- open that weekday, and no holiday
from calendars c
cross join generate_series(
    date_trunc('year', now() - interval '5 years'), now() + interval '1 year', interval '1 day'
) d
left join holidays h on h.holiday_list_id = c.holiday_list_id and h.date = d::date
