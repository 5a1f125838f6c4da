-- One row per client: service tickets and hours of the last 365 local days a contact and a configuration
-- (endpoint). Hours worked for the client, on tickets of any kind and without. Sources: fct_ticket_all,
-- fct_time_entry_all, company/contacts, company/configurations.
select
    c.id as company_id, -- client
    coalesce(t.tickets, 0) as tickets, -- service tickets that came in, merged ones left out
    coalesce(p.contacts, 0) as contacts, -- active contacts
    coalesce(d.configurations, 0) as configurations, -- active configurations
    t.tickets::numeric / p.contacts as tickets_per_contact, -- tickets / active contacts
    t.tickets::numeric / d.configurations as tickets_per_configuration, -- tickets / active configurations
    coalesce(h.hours, 0) as hours_actual, -- hours worked
    h.hours / p.contacts as hours_per_contact, -- hours worked / active contacts
    h.hours / d.configurations as hours_per_configuration -- hours worked / active configurations
from {{source}}.company_companies c
left join (
    select company_id, count(*) as tickets
    from {{reporting}}.fct_ticket_all
    where entered_date > (now() at time zone {{time_zone}})::date - 365
      and record_type = 'ServiceTicket' and not is_merged and not is_deleted
    group by 1
) t on t.company_id = c.id
left join (
    select company_id, count(*) as contacts from {{source}}.company_contacts
    where _deleted_at is null and not coalesce(inactive_flag, false)
    group by 1
) p on p.company_id = c.id
left join (
    select company_id, count(*) as configurations from {{source}}.company_configurations
    where _deleted_at is null and coalesce(active_flag, false)
    group by 1
) d on d.company_id = c.id
left join (
    select company_id, sum(hours_actual) as hours
    from {{reporting}}.fct_time_entry_all
    where work_date > (now() at time zone {{time_zone}})::date - 365 and not is_deleted and charge_code_id is null
    group by 1
) h on h.company_id = c.id
where c._deleted_at is null and not coalesce(c.deleted_flag, false)
