-- One row per ticket and span of time in one status, the present one included. The begin of the first
-- span is the ticket's entering if it was watched since, else unknown. Source: fct_ticket_status_span_all.
select
    s.ticket_id as ticket_id, -- ticket
    coalesce(b.id, -1) as board_id, -- board now
    coalesce(d.id, -1) as status_id, -- status
    s.began_at as began_at, -- since when; empty: since before it was watched
    s.ended_at as ended_at, -- until when; empty: still
    s.ended_at is null as is_current, -- its status now
    extract(epoch from coalesce(s.ended_at, now()) - s.began_at)::numeric / 60 as calendar_minutes, -- how long, around the clock; empty where the begin is unknown
    coalesce(c.id, -1) as company_id, -- client now
    coalesce(l.id, -1) as location_id, -- our location now
    coalesce(e.id, -1) as department_id, -- our department now
    greatest(s.changed_at, b._synced_at, c._synced_at, l._synced_at, e._synced_at, d.synced_at, case when s.ended_at is null then now() end) as changed_at -- when any column of this row last changed, by the warehouse's clock; always now while it lasts
from {{reporting}}.fct_ticket_status_span_all s
left join {{source}}.service_boards b on b.id = s.board_id
left join {{source}}.company_companies c on c.id = s.company_id
left join {{source}}.system_locations l on l.id = s.location_id
left join {{source}}.system_departments e on e.id = s.department_id
left join (select id, max(_synced_at) as synced_at from {{source}}.service_boards_statuses group by id) d on d.id = s.status_id
