-- One row per board and status: how long service and project tickets stay in it, around the clock, of
-- the stays that ended and whose begin is known. Source: fct_ticket_status_span.
select
    board_id as board_id, -- board the tickets are on now
    status_id as status_id, -- status
    count(*) as stays, -- times a ticket left it
    count(distinct ticket_id) as tickets, -- different tickets
    sum(calendar_minutes) as calendar_minutes, -- minutes of all stays
    avg(calendar_minutes) as average_calendar_minutes, -- of one stay
    (percentile_cont(0.5) within group (order by calendar_minutes::float8))::numeric as median_calendar_minutes -- half of the stays were shorter
from {{reporting}}.fct_ticket_status_span
where not is_current and calendar_minutes is not null
group by 1, 2
