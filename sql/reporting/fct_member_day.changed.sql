-- index: date
select id as member_id from {{source}}.system_members where _synced_at >= {{since}}
union
select e.member_id from {{source}}.time_entries e where e._synced_at >= {{since}} and e.member_id is not null
union
-- the member that an entry was moved away from
select value::bigint from cw_sync.history
where tenant = {{tenant}} and entity = 'time/entries' and column_name = 'member_id'
  and recorded_at >= {{since}} and value is not null
union
select e.member_id from {{source}}.schedule_entries e where e._synced_at >= {{since}} and e.member_id is not null
union
-- everybody: a day has passed, or the set-up has changed
select m.id from {{source}}.system_members m
where (select max(date) from {{reporting}}.fct_member_day) < (now() at time zone {{time_zone}})::date
   or exists (select from {{source}}.schedule_calendars where _synced_at >= {{since}})
   or exists (select from {{source}}.schedule_holiday_lists_holidays where _synced_at >= {{since}})
   or exists (select from {{source}}.time_charge_codes where _synced_at >= {{since}})
   or exists (select from {{source}}.schedule_types where _synced_at >= {{since}})
   or exists (select from {{source}}.time_work_types where _synced_at >= {{since}})
