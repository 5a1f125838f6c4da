-- One row per live schedule entry: who is to be where, when. Sources: schedule/entries, schedule/types.
select
    s.id as schedule_id, -- ConnectWise id
    s.name as schedule_name, -- subject
    coalesce(member.id, -1) as member_id, -- who
    coalesce(type.id, -1) as schedule_type_id, -- type
    s.object_id as object_id, -- the ticket, activity or member it is about, by type
    s.status_name as status, -- Firm or Tentative
    s.date_start as starts_at, -- begin
    s.date_end as ends_at, -- end
    (s.date_start at time zone {{time_zone}})::date as date, -- local day of the begin
    coalesce(to_char((s.date_start at time zone {{time_zone}})::date, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    coalesce(s.hours, extract(epoch from s.date_end - s.date_start)::numeric / 3600) as hours, -- how long
    coalesce(s.done_flag, false) as is_done -- done
from {{source}}.schedule_entries s
left join {{source}}.system_members member on member.id = s.member_id
left join {{source}}.schedule_types type on type.id = s.type_id
where s._deleted_at is null
