-- index: month
with tickets as (select * from {{reporting}}.fct_ticket_all where changed_at > {{since}})
select date_trunc('month', closed_date)::date as month from tickets where closed_date is not null
union
-- the month in which it had been closed before
select date_trunc('month', coalesce(closed_date, last_updated) at time zone {{time_zone}})::date
from {{history}}.service_tickets where _recorded_to >= {{since}} and closed_flag
union
-- or as a service ticket, where a project ticket of that number has just come
select date_trunc('month', coalesce(s.closed_date, s.last_updated) at time zone {{time_zone}})::date
from {{source}}.service_tickets s join tickets t on t.ticket_id = s.id
where t.record_type <> 'ServiceTicket' and s.closed_flag
union
select date_trunc('month', coalesce(date_entered, last_updated) at time zone {{time_zone}})::date
from {{source}}.service_surveys_results where _synced_at >= {{since}} and coalesce(date_entered, last_updated) is not null
union
-- when it had been answered before
select date_trunc('month', coalesce(date_entered, last_updated) at time zone {{time_zone}})::date
from {{history}}.service_surveys_results where _recorded_to >= {{since}} and coalesce(date_entered, last_updated) is not null
union
select month from {{reporting}}.kpi_csat_month
where exists (select from {{source}}.company_companies where _synced_at >= {{since}})
