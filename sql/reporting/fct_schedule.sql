-- One row per live schedule entry: who is to be where, when. Sources: fct_schedule_all,
-- schedule/types, fct_ticket_all, sales/activities.
select
    s.schedule_id, -- ConnectWise id
    s.schedule_name, -- subject
    coalesce(member.id, -1) as member_id, -- who
    coalesce(type.id, -1) as schedule_type_id, -- type
    s.object_id, -- the ticket, activity or member it is about, by type
    s.status, -- Firm or Tentative
    s.starts_at, -- begin
    s.ends_at, -- end
    s.date, -- local day of the begin
    s.date_id, -- the same, in dim_date
    s.hours, -- how long
    s.is_done, -- done
    case when type.identifier = 'S' then s.object_id end as ticket_id, -- ticket it is about, if it is about one
    coalesce(company.id, -1) as company_id, -- client of that ticket, or of the activity it is about
    coalesce(location.id, -1) as location_id, -- our location, of tickets
    coalesce(department.id, -1) as department_id, -- our department, of tickets
    greatest(s.changed_at, type._synced_at, member._synced_at, ticket.changed_at, activity._synced_at, company._synced_at, location._synced_at, department._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_schedule_all s
left join {{source}}.system_members member on member.id = s.member_id
left join {{source}}.schedule_types type on type.id = s.schedule_type_id
-- the vendor's identifiers: S is a service ticket, C an activity
left join {{reporting}}.fct_ticket_all ticket on ticket.ticket_id = case when type.identifier = 'S' then s.object_id end
left join {{source}}.sales_activities activity on activity.id = case when type.identifier = 'C' then s.object_id end
left join {{source}}.company_companies company on company.id = coalesce(ticket.company_id, activity.company_id)
left join {{source}}.system_locations location on location.id = ticket.location_id
left join {{source}}.system_departments department on department.id = ticket.department_id
where not s.is_deleted
