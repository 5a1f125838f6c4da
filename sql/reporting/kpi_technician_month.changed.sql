-- index: month
with tickets as (select * from {{reporting}}.fct_ticket_all where changed_at > {{since}})
select date_trunc('month', closed_date)::date as month from tickets where closed_date is not null
union
-- the month in which it had been closed before
select date_trunc('month', closed_date at time zone {{time_zone}})::date
from {{history}}.service_tickets where _recorded_to >= {{since}} and closed_date is not null
union
select date_trunc('month', closed_date at time zone {{time_zone}})::date
from {{history}}.project_tickets where _recorded_to >= {{since}} and closed_date is not null
union
select date_trunc('month', coalesce(s.closed_date, s.last_updated) at time zone {{time_zone}})::date
from {{source}}.service_tickets s join tickets t on t.ticket_id = s.id
where t.record_type <> 'ServiceTicket' and s.closed_flag
union
-- answers about tickets that changed, and those that are new
select date_trunc('month', s.answered_date)::date
from {{reporting}}.fct_survey s join tickets t on t.ticket_id = s.ticket_id
where s.answered_date is not null
union
select date_trunc('month', coalesce(date_entered, last_updated) at time zone {{time_zone}})::date
from {{source}}.service_surveys_results where _synced_at >= {{since}} and coalesce(date_entered, last_updated) is not null
union
select date_trunc('month', coalesce(date_entered, last_updated) at time zone {{time_zone}})::date
from {{history}}.service_surveys_results where _recorded_to >= {{since}} and coalesce(date_entered, last_updated) is not null
union
select date_trunc('month', time_start at time zone {{time_zone}})::date
from {{source}}.time_entries where _synced_at >= {{since}} and time_start is not null
union
select date_trunc('month', time_start at time zone {{time_zone}})::date
from {{history}}.time_entries where _recorded_to >= {{since}} and time_start is not null
union
-- an entry's hours change the ticket's count of entries
select date_trunc('month', t.closed_date)::date
from {{source}}.time_entries e join {{reporting}}.fct_ticket_all t on t.ticket_id = e.ticket_id
where e._synced_at >= {{since}} and t.closed_date is not null
union
select date_trunc('month', t.closed_date)::date
from {{history}}.time_entries h join {{reporting}}.fct_ticket_all t on t.ticket_id = h.ticket_id
where h._recorded_to >= {{since}} and t.closed_date is not null
union
-- hours of days to come, when they have come
select date_trunc('month', date)::date from {{reporting}}.fct_member_day where changed_at > {{since}}
union
select month from {{reporting}}.kpi_technician_month
where exists (select from {{source}}.system_members where _synced_at >= {{since}})
union
-- counted under another reading of the minutes
select month from {{reporting}}.kpi_technician_month
where minutes_taken_as is distinct from (select taken_as from {{reporting}}.kpi_sla_reading)
union
-- closed without a date, which is the last change: that month moves
select month from {{reporting}}.kpi_technician_month
where closed_without_date > 0 and exists (select from {{reporting}}.fct_ticket_all where changed_at > {{since}})
union
select month from {{reporting}}.kpi_technician_month
where exists (select from {{source}}.system_locations where _synced_at >= {{since}})
   or exists (select from {{source}}.system_departments where _synced_at >= {{since}})
