-- One row per ticket and span of time in one status, the present one included. The begin of the first
-- span is the ticket's entering if it was watched since, else unknown. Sources: service/tickets,
-- project/tickets and the history of changes.
with watched as (
    select entity, since from cw_sync.history_column where tenant = {{tenant}} and column_name = 'status_id'
),
tickets as (
    select *, case record_type when 'ServiceTicket' then 'service/tickets' else 'project/tickets' end as entity
    from {{reporting}}.fct_ticket_all where not is_deleted and not is_merged
),
past as (
    select record_id, entity, value::bigint as status_id, valid_from, valid_to
    from cw_sync.history
    where tenant = {{tenant}} and entity in ('service/tickets', 'project/tickets') and column_name = 'status_id'
),
spans as (
    select t.ticket_id, t.board_id, p.status_id, coalesce(p.valid_from, case when t.entered_at >= w.since then t.entered_at end) as began_at, p.valid_to as ended_at
    from past p
    join tickets t on t.ticket_id = p.record_id and t.entity = p.entity
    join watched w on w.entity = p.entity
    union all
    select t.ticket_id, t.board_id, t.status_id, coalesce(p.valid_to, case when t.entered_at >= w.since then t.entered_at end), null
    from tickets t
    left join watched w on w.entity = t.entity
    left join (select record_id, entity, max(valid_to) as valid_to from past group by 1, 2) p
        on p.record_id = t.ticket_id and p.entity = t.entity
)
select
    s.ticket_id as ticket_id, -- ticket
    coalesce(b.id, -1) as board_id, -- board now
    coalesce(d.id, -1) as status_id, -- status
    s.began_at as began_at, -- since when; empty: since before it was watched
    s.ended_at as ended_at, -- until when; empty: still
    s.ended_at is null as is_current, -- its status now
    extract(epoch from coalesce(s.ended_at, now()) - s.began_at)::numeric / 60 as calendar_minutes -- how long, around the clock; empty where the begin is unknown
from spans s
left join {{source}}.service_boards b on b.id = s.board_id
left join (select distinct id from {{source}}.service_boards_statuses) d on d.id = s.status_id
