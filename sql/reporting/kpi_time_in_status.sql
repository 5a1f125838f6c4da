-- One row per board and status: how long service and project tickets stay in it, around the clock, of
-- the stays that ended and whose begin is known. Sources: fct_ticket_all and the history of changes.
with watched as (
    select entity, since from cw_sync.history_column where tenant = {{tenant}} and column_name = 'status_id'
),
stays as (
    select
        t.board_id, h.value::bigint as status_id, t.ticket_id,
        extract(epoch from h.valid_to - coalesce(h.valid_from, case when t.entered_at >= w.since then t.entered_at end))::float8 / 60 as minutes
    from cw_sync.history h
    join watched w on w.entity = h.entity
    join {{reporting}}.fct_ticket_all t
        on t.ticket_id = h.record_id
       and (t.record_type = 'ServiceTicket') = (h.entity = 'service/tickets')
       and not t.is_deleted and not t.is_merged
    where h.tenant = {{tenant}} and h.entity in ('service/tickets', 'project/tickets') and h.column_name = 'status_id'
),
counted as (
    select
        board_id, status_id,
        count(*) as stays,
        count(distinct ticket_id) as tickets,
        sum(minutes) as total,
        percentile_cont(0.5) within group (order by minutes) as median
    from stays
    where minutes is not null
    group by 1, 2
)
select
    coalesce(b.id, -1) as board_id, -- board the tickets are on now
    coalesce(s.id, -1) as status_id, -- status
    sum(c.stays)::bigint as stays, -- times a ticket left it
    sum(c.tickets)::bigint as tickets, -- different tickets
    sum(c.total)::numeric as calendar_minutes, -- minutes of all stays
    (sum(c.total) / sum(c.stays))::numeric as average_calendar_minutes, -- of one stay
    max(c.median)::numeric as median_calendar_minutes -- half of the stays were shorter
from counted c
left join {{source}}.service_boards b on b.id = c.board_id
left join (select distinct id from {{source}}.service_boards_statuses) s on s.id = c.status_id
group by 1, 2
