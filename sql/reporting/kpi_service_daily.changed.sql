-- index: date
with tickets as (
    select ticket_id, entered_date, closed_date from {{reporting}}.fct_ticket_all where synced_at >= {{since}}
    union all
    -- hours of a ticket show on the day it was closed
    select t.ticket_id, t.entered_date, t.closed_date
    from {{source}}.time_entries e
    join {{reporting}}.fct_ticket_all t on t.ticket_id = e.ticket_id
    where e._synced_at >= {{since}}
    union all
    select t.ticket_id, t.entered_date, t.closed_date
    from cw_sync.history h
    join {{reporting}}.fct_ticket_all t on t.ticket_id = h.value::bigint
    where h.tenant = {{tenant}} and h.entity = 'time/entries' and h.column_name = 'ticket_id' and h.recorded_at >= {{since}}
)
select entered_date as date from tickets where entered_date is not null
union
select closed_date from tickets where closed_date is not null
union
-- the day on which it had been closed before, and that of its reopening
select (h.value::timestamptz at time zone {{time_zone}})::date
from cw_sync.history h
where h.tenant = {{tenant}} and h.entity in ('service/tickets', 'project/tickets') and h.column_name = 'closed_date'
  and h.recorded_at >= {{since}} and h.value is not null
union
select (h.valid_to at time zone {{time_zone}})::date
from cw_sync.history h
join tickets t on t.ticket_id = h.record_id
where h.tenant = {{tenant}} and h.entity in ('service/tickets', 'project/tickets') and h.column_name = 'closed_flag'
union
select date from {{reporting}}.kpi_service_daily
where exists (select from {{source}}.service_boards where _synced_at >= {{since}})
union
-- counted under another reading of the minutes
select date from {{reporting}}.kpi_service_daily
where minutes_taken_as is distinct from (select taken_as from {{reporting}}.kpi_sla_reading)
union
-- closed without a date, which is the last change: that day moves
select date from {{reporting}}.kpi_service_daily
where closed_without_date > 0 and exists (select from {{reporting}}.fct_ticket_all where synced_at >= {{since}})
