-- index: member_id, date
-- index: date
with entries as (
    select member_id, time_start from {{source}}.time_entries where _synced_at >= {{since}}
    union all
    -- where an entry was before it was moved
    select member_id, time_start from {{history}}.time_entries where _recorded_to >= {{since}}
),
everybody as (
    select
        exists (select from {{source}}.schedule_calendars where _synced_at >= {{since}})
        or exists (select from {{source}}.schedule_holiday_lists_holidays where _synced_at >= {{since}})
        or exists (select from {{source}}.time_charge_codes where _synced_at >= {{since}})
        or exists (select from {{source}}.schedule_types where _synced_at >= {{since}})
        or exists (select from {{source}}.time_work_types where _synced_at >= {{since}})
        or exists (select from {{source}}.system_locations where _synced_at >= {{since}})
        or exists (select from {{source}}.system_departments where _synced_at >= {{since}})
        -- clients have got a second currency, or have one again, or none: that is -1, as several are, and has revenue
        or (
            (
                exists (select from {{source}}.company_companies where _synced_at >= {{since}})
                or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
            )
            and (
                select (count(distinct c.currency_id) > 1, case when count(distinct c.currency_id) = 1 then coalesce(min(currency.id), -1) else -1 end)
                from {{source}}.company_companies c
                left join {{source}}.finance_currencies currency on currency.id = c.currency_id
                where c._deleted_at is null
            ) is distinct from (select (revenue is null, currency_id) from {{reporting}}.fct_member_day limit 1)
        ) as changed
)
select member_id, (time_start at time zone {{time_zone}})::date as date from entries
where member_id is not null and time_start is not null
union
-- all days of who has changed; the new ones of everybody
select m.id, d.date
from {{source}}.system_members m
cross join everybody
join {{reporting}}.dim_calendar_day d on d.calendar_id = -1 and d.date <= (now() at time zone {{time_zone}})::date
where m._synced_at >= {{since}}
   or everybody.changed
   or m.id in (
        select member_id from {{source}}.schedule_entries where _synced_at >= {{since}}
        union all
        -- whose it was, and what it was, before it was moved or became something else
        select member_id from {{history}}.schedule_entries where _recorded_to >= {{since}}
    )
   or d.date > ({{since}}::timestamptz at time zone {{time_zone}})::date
union
-- days that are older than five years by now
select member_id, date from {{reporting}}.fct_member_day
where date < (select min(date) from {{reporting}}.dim_calendar_day)
