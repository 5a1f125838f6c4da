-- One row per schedule entry, deleted ones included, ids as ConnectWise gave them. fct_schedule is what
-- reports should read. Source: schedule/entries.
select
    s.id as schedule_id, -- ConnectWise id
    s.name as schedule_name, -- subject
    s.member_id as member_id, -- who
    s.type_id as schedule_type_id, -- type
    s.object_id as object_id, -- the ticket, activity or member it is about, by type
    s.status_name as status, -- Firm or Tentative
    s.date_start as starts_at, -- begin
    s.date_end as ends_at, -- end
    (s.date_start at time zone {{time_zone}})::date as date, -- local day of the begin
    coalesce(to_char(s.date_start at time zone {{time_zone}}, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    coalesce(s.hours, extract(epoch from s.date_end - s.date_start)::numeric / 3600) as hours, -- how long
    coalesce(s.done_flag, false) as is_done, -- done
    s._deleted_at is not null as is_deleted, -- no longer in ConnectWise
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.schedule_entries s
where {{only: s.id}}
