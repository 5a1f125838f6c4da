-- index: member_id, date
-- index: date
with entries as (
    select e.id, e.member_id, (e.time_start at time zone {{time_zone}})::date as date
    from {{source}}.time_entries e where e._synced_at >= {{since}}
),
-- where an entry was before it was moved
past as (
    select record_id as id, column_name, value
    from cw_sync.history
    where tenant = {{tenant}} and entity = 'time/entries' and column_name in ('member_id', 'time_start')
      and recorded_at >= {{since}} and value is not null
),
members as (
    select id, member_id from entries
    union select id, value::bigint from past where column_name = 'member_id'
),
dates as (
    select id, date from entries
    union select id, (value::timestamptz at time zone {{time_zone}})::date from past where column_name = 'time_start'
),
everybody as (
    select
        exists (select from {{source}}.schedule_calendars where _synced_at >= {{since}})
        or exists (select from {{source}}.schedule_holiday_lists_holidays where _synced_at >= {{since}})
        or exists (select from {{source}}.time_charge_codes where _synced_at >= {{since}})
        or exists (select from {{source}}.schedule_types where _synced_at >= {{since}})
        or exists (select from {{source}}.time_work_types where _synced_at >= {{since}}) as changed
)
select members.member_id, dates.date from members join dates using (id)
where members.member_id is not null and dates.date is not null
union
-- all days of who has changed; the new ones of everybody
select m.id, d.date
from {{source}}.system_members m
cross join everybody
join {{reporting}}.dim_calendar_day d on d.calendar_id = -1 and d.date <= (now() at time zone {{time_zone}})::date
where m._synced_at >= {{since}}
   or everybody.changed
   or m.id in (
        select s.member_id from {{source}}.schedule_entries s
        join {{reporting}}.dim_schedule_type t on t.schedule_type_id = s.type_id and t.is_time_off
        where s._synced_at >= {{since}}
    )
   or d.date > (select max(date) from {{reporting}}.fct_member_day)
union
-- days that are older than five years by now
select member_id, date from {{reporting}}.fct_member_day
where date < (select min(date) from {{reporting}}.dim_calendar_day)
