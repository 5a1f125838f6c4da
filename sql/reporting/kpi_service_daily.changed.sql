-- index: date
with tickets as (
    select ticket_id, entered_date, closed_date from {{reporting}}.fct_ticket_all where changed_at > {{since}}
    union all
    -- hours of a ticket show on the day it was closed
    select t.ticket_id, t.entered_date, t.closed_date
    from {{source}}.time_entries e
    join {{reporting}}.fct_ticket_all t on t.ticket_id = e.ticket_id
    where e._synced_at >= {{since}}
    union all
    select t.ticket_id, t.entered_date, t.closed_date
    from {{history}}.time_entries h
    join {{reporting}}.fct_ticket_all t on t.ticket_id = h.ticket_id
    where h._recorded_to >= {{since}}
    union all
    -- a service ticket's own days, where a project ticket of that number has just come or gone
    select t.ticket_id, (s.date_entered at time zone {{time_zone}})::date, (coalesce(s.closed_date, s.last_updated) at time zone {{time_zone}})::date
    from {{reporting}}.fct_ticket_all t
    join {{source}}.service_tickets s on s.id = t.ticket_id
    where t.changed_at > {{since}} and t.record_type <> 'ServiceTicket'
)
select entered_date as date from tickets where entered_date is not null
union
select closed_date from tickets where closed_date is not null
union
-- the days on which it had come in and been closed before
select (d.at at time zone {{time_zone}})::date
from {{history}}.service_tickets h
cross join lateral (values (h.date_entered), (h.closed_date)) d (at)
where h._recorded_to >= {{since}} and d.at is not null
union
-- and those of its reopening
select (h._next_from at time zone {{time_zone}})::date
from {{history}}.service_tickets h
join tickets t on t.ticket_id = h.id
where h.closed_flag
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
where closed_without_date > 0 and exists (select from {{reporting}}.fct_ticket_all where changed_at > {{since}})
union
select date from {{reporting}}.kpi_service_daily
where exists (select from {{source}}.system_locations where _synced_at >= {{since}})
   or exists (select from {{source}}.system_departments where _synced_at >= {{since}})
