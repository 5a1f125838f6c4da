-- index: schedule_id
-- index: date
-- index: member_id
-- index: object_id
select id as schedule_id from {{source}}.schedule_entries where _synced_at >= {{since}}
