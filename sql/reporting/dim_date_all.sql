-- One row per calendar day from 1990 to 2050, and -1 for facts that have no date: what does not depend
-- on today. dim_date is what reports should read. Source: none.
select
    to_char(d, 'YYYYMMDD')::int as date_id, -- the day as a number, 20250131; -1: no date
    d::date as date, -- the day
    extract(year from d)::int as year, -- calendar year
    extract(quarter from d)::int as quarter, -- quarter of the year, 1 to 4
    extract(month from d)::int as month, -- month of the year, 1 to 12
    to_char(d, 'Mon') as month_name, -- Jan, Feb, …
    date_trunc('month', d)::date as month_starts_on, -- first day of its month
    date_trunc('week', d)::date as week_starts_on, -- Monday of its week
    extract(isodow from d)::int as weekday, -- 1 Monday to 7 Sunday
    to_char(d, 'Dy') as weekday_name, -- Mon, Tue, …
    extract(isodow from d) < 6 as is_weekday, -- Monday to Friday; holidays are in dim_calendar_day
    d::date = (date_trunc('month', d) + interval '1 month' - interval '1 day')::date as is_month_end, -- last day of its month
    to_char(d, 'YYYYMM')::int as month_key, -- month as a number, 202501: sorts month_label
    to_char(d, 'Mon YYYY') as month_label, -- Jan 2025
    to_char(d, 'YYYYQ')::int as quarter_key, -- quarter as a number, 20251: sorts quarter_label
    to_char(d, 'YYYY "Q"Q') as quarter_label, -- 2025 Q1
    to_char(d, 'IYYYIW')::int as week_key, -- ISO week as a number, 202501: sorts week_label
    to_char(d, 'IYYY "W"IW') as week_label -- 2025 W01: the week that has the year's first Thursday is W01
from generate_series(timestamp '1990-01-01', timestamp '2050-12-31', interval '1 day') d
union all
select -1, null, null, null, null, 'None', null, null, null, 'None', null, null, -1, 'None', -1, 'None', -1, 'None'
