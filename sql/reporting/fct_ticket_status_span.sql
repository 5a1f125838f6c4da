-- One row per ticket and span of time in one status, the present one included. The begin of the first
-- span is the ticket's entering if it was watched since, else unknown. Sources: service/tickets,
-- project/tickets and the versions kept with every merge.
with watched as (
    select entity, since from cw_sync.history_column where tenant = {{tenant}} and column_name = 'status_id'
),
tickets as (
    select *, case record_type when 'ServiceTicket' then 'service/tickets' else 'project/tickets' end as entity
    from {{reporting}}.fct_ticket_all where not is_deleted and not is_merged
),
past as (
    select 'service/tickets' as entity, id, status_id, _valid_to, _next_from from {{history}}.service_tickets
    union all
    select 'project/tickets', id, status_id, _valid_to, _next_from from {{history}}.project_tickets
),
-- Each version beside the status of the next one.
versions as (
    select
        t.ticket_id, t.entity, p.status_id, p._valid_to, p._next_from,
        case when lead(1) over w is null then t.status_id else lead(p.status_id) over w end as next_status
    from past p
    join tickets t on t.ticket_id = p.id and t.entity = p.entity
    window w as (partition by p.entity, p.id order by p._next_from)
),
ended as (
    select
        ticket_id, entity, status_id, _valid_to as ended_at, _next_from,
        lag(_next_from) over (partition by entity, ticket_id order by _next_from) as began_at
    from versions
    where status_id is distinct from next_status
),
spans as (
    select t.ticket_id, t.board_id, t.company_id, t.location_id, t.department_id, t.changed_at, e.status_id, coalesce(e.began_at, case when t.entered_at >= w.since then t.entered_at end) as began_at, e.ended_at
    from ended e
    join tickets t on t.ticket_id = e.ticket_id and t.entity = e.entity
    join watched w on w.entity = e.entity
    union all
    select t.ticket_id, t.board_id, t.company_id, t.location_id, t.department_id, t.changed_at, t.status_id, coalesce(e.began_at, case when t.entered_at >= w.since then t.entered_at end), null
    from tickets t
    left join watched w on w.entity = t.entity
    left join (select ticket_id, entity, max(_next_from) as began_at from ended group by 1, 2) e
        on e.ticket_id = t.ticket_id and e.entity = t.entity
)
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
from spans s
left join {{source}}.service_boards b on b.id = s.board_id
left join {{source}}.company_companies c on c.id = s.company_id
left join {{source}}.system_locations l on l.id = s.location_id
left join {{source}}.system_departments e on e.id = s.department_id
left join (select id, max(_synced_at) as synced_at from {{source}}.service_boards_statuses group by id) d on d.id = s.status_id
