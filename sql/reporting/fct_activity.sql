-- One row per live sales activity: call, meeting, follow-up. Sources: sales/activities,
-- sales/activities/statuses.
select
    a.id as activity_id, -- ConnectWise id
    a.name as activity_name, -- subject
    coalesce(type.id, -1) as activity_type_id, -- type
    coalesce(company.id, -1) as company_id, -- client or prospect
    coalesce(member.id, -1) as member_id, -- who it is assigned to
    a.opportunity_id as opportunity_id, -- opportunity
    a.ticket_id as ticket_id, -- ticket
    a.status_name as status, -- status as the activity's record names it
    coalesce(status.closed_flag, a.close_flag, false) as is_closed, -- done
    a.date_start as starts_at, -- begin
    a.date_end as ends_at, -- end
    (a.date_start at time zone {{time_zone}})::date as date, -- local day of the begin
    coalesce(to_char((a.date_start at time zone {{time_zone}})::date, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    not coalesce(status.closed_flag, a.close_flag, false) and coalesce(a.date_end, a.date_start) < now() as is_overdue, -- should have been done, but is open
    greatest(a._synced_at, type._synced_at, status._synced_at, company._synced_at, member._synced_at, case when coalesce(a.date_end, a.date_start) < now() then coalesce(a.date_end, a.date_start) end) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.sales_activities a
left join {{source}}.sales_activities_types type on type.id = a.type_id
left join {{source}}.sales_activities_statuses status on status.id = a.status_id
left join {{source}}.company_companies company on company.id = a.company_id
left join {{source}}.system_members member on member.id = a.assign_to_id
where a._deleted_at is null
