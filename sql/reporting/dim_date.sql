-- One row per calendar day from 1990 to 2050, and -1 for facts that have no date. Holidays are the tenant's.
-- Sources: dim_date_all, schedule/holidayLists/holidays, schedule/calendars, system/members.
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
    is_weekday, -- Monday to Friday
    is_month_end, -- last day of its month
    date - (now() at time zone {{time_zone}})::date as days_from_today, -- -1 yesterday, 0 today in the tenant's time zone
    month_key, -- month as a number, 202501: sorts month_label
    month_label, -- Jan 2025
    quarter_key, -- quarter as a number, 20251: sorts quarter_label
    quarter_label, -- 2025 Q1
    week_key, -- ISO week as a number, 202501: sorts week_label
    week_label, -- 2025 W01: the week that has the year's first Thursday is W01
    fiscal.fiscal_year as fiscal_year, -- year in which the fiscal year ends; it begins with the month of CW_FISCAL_YEAR_START
    (fiscal.fiscal_month - 1) / 3 + 1 as fiscal_quarter, -- quarter of the fiscal year, 1 to 4
    fiscal.fiscal_month as fiscal_month, -- month of the fiscal year, 1 to 12
    coalesce('FY' || fiscal.fiscal_year, 'None') as fiscal_year_label, -- FY2025
    coalesce('FY' || fiscal.fiscal_year || ' Q' || ((fiscal.fiscal_month - 1) / 3 + 1), 'None') as fiscal_quarter_label, -- FY2025 Q1: sorts by itself
    holiday.date is not null as is_holiday, -- an all-day holiday of the calendar that most active members work by; others: dim_calendar_day
    holiday.name as holiday_name, -- its name
    is_weekday and holiday.date is null as is_working_day -- Monday to Friday, and no holiday
from {{reporting}}.dim_date_all
left join (
    select date, min(name) as name
    from {{source}}.schedule_holiday_lists_holidays
    where _deleted_at is null and coalesce(all_day_flag, true)
        and parent_id = (
            select c.holiday_list_id from {{source}}.system_members m
            join {{source}}.schedule_calendars c on c.id = m.calendar_id
            where m._deleted_at is null and not coalesce(m.inactive_flag, false) and c._deleted_at is null
            group by c.id, c.holiday_list_id order by count(*) desc, c.id limit 1
        )
    group by date
) holiday using (date)
cross join lateral (
    select
        year + case when {{fiscal_year_start}} > 1 and month >= {{fiscal_year_start}} then 1 else 0 end as fiscal_year,
        (month - {{fiscal_year_start}} + 12) % 12 + 1 as fiscal_month
) fiscal
