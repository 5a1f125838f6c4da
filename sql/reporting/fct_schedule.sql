-- One row per live schedule entry: who is to be where, when. Sources: schedule/entries,
-- schedule/types, fct_ticket_all, sales/activities.
select
    s.id as schedule_id, -- ConnectWise id
    s.name as schedule_name, -- subject
    coalesce(member.id, -1) as member_id, -- who
    coalesce(type.id, -1) as schedule_type_id, -- type
    s.object_id as object_id, -- the ticket, activity or member it is about, by type
    s.status_name as status, -- Firm or Tentative
    s.date_start as starts_at, -- begin
    s.date_end as ends_at, -- end
    (s.date_start at time zone {{time_zone}})::date as date, -- local day of the begin
    coalesce(to_char((s.date_start at time zone {{time_zone}})::date, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    coalesce(s.hours, extract(epoch from s.date_end - s.date_start)::numeric / 3600) as hours, -- how long
    coalesce(s.done_flag, false) as is_done, -- done
    case when type.identifier = 'S' then s.object_id end as ticket_id, -- ticket it is about, if it is about one
    coalesce(company.id, -1) as company_id, -- client of that ticket, or of the activity it is about
    coalesce(location.id, -1) as location_id, -- our location, of tickets
    coalesce(department.id, -1) as department_id, -- our department, of tickets
    greatest(s._synced_at, type._synced_at, member._synced_at, ticket.changed_at, activity._synced_at, company._synced_at, location._synced_at, department._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.schedule_entries s
left join {{source}}.system_members member on member.id = s.member_id
left join {{source}}.schedule_types type on type.id = s.type_id
-- the vendor's identifiers: S is a service ticket, C an activity
left join {{reporting}}.fct_ticket_all ticket on ticket.ticket_id = case when type.identifier = 'S' then s.object_id end
left join {{source}}.sales_activities activity on activity.id = case when type.identifier = 'C' then s.object_id end
left join {{source}}.company_companies company on company.id = coalesce(ticket.company_id, activity.company_id)
left join {{source}}.system_locations location on location.id = ticket.location_id
left join {{source}}.system_departments department on department.id = ticket.department_id
where s._deleted_at is null
