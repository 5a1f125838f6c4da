-- index: month
select date_trunc('month', closed_date::timestamp)::date as month
from {{reporting}}.fct_ticket_all where changed_at > {{since}} and closed_date is not null
union
-- the month in which it had been closed before
select date_trunc('month', coalesce(closed_date, last_updated) at time zone {{time_zone}})::date
from {{history}}.service_tickets where _recorded_to >= {{since}} and closed_flag
union
-- or as a service ticket, where a project ticket of that number has just come
select date_trunc('month', coalesce(s.closed_date, s.last_updated) at time zone {{time_zone}})::date
from {{reporting}}.fct_ticket_all t
join {{source}}.service_tickets s on s.id = t.ticket_id
where t.changed_at > {{since}} and t.record_type <> 'ServiceTicket' and s.closed_flag
union
select month from {{reporting}}.kpi_sla_verdict
where exists (select from {{source}}.service_boards where _synced_at >= {{since}})
union
select month from {{reporting}}.kpi_sla_verdict
where exists (select from {{source}}.system_locations where _synced_at >= {{since}})
   or exists (select from {{source}}.system_departments where _synced_at >= {{since}})
