-- One row per member (our own people), former ones included. Source: system/members.
select
    id as member_id, -- ConnectWise id; -1 is the unknown member
    identifier as member_identifier, -- login name
    concat_ws(' ', first_name, last_name) as member_name, -- first and last name
    title as title, -- job title
    type_name as member_type, -- Employee, Contractor, …
    coalesce(default_department_id, -1) as department_id, -- default department
    coalesce(default_location_id, -1) as location_id, -- default location
    coalesce(work_role_id, -1) as work_role_id, -- default work role
    reports_to_id as reports_to_id, -- member they report to
    coalesce(daily_capacity, 0) as daily_capacity, -- hours of a full working day
    coalesce(daily_capacity, 0) > 0 as has_capacity, -- whether they have any: else they are left out of utilization
    hourly_cost as hourly_cost, -- what an hour costs us; empty where hidden from the API member
    coalesce(include_in_utilization_reporting_flag, false) as is_in_utilization, -- counts in utilization
    coalesce(calendar_id, -1) as calendar_id, -- working calendar
    (hire_date at time zone 'UTC')::date as hired_on, -- first day
    least(
        case when inactive_flag then coalesce((inactive_date at time zone 'UTC')::date, (last_updated at time zone {{time_zone}})::date) end,
        (_deleted_at at time zone {{time_zone}})::date
    ) as left_on, -- first day on which they no longer worked; without a date, the day of the record's last change; at the latest when the record was deleted
    coalesce(inactive_flag, false) and inactive_date is null as is_left_assumed, -- has left, and nobody wrote down when
    coalesce(inactive_flag, false) as is_inactive, -- has left
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.system_members
union all
select -1, 'Unknown', 'Unknown', null, null, -1, -1, -1, null, 0, false, null, false, -1, null, null, false, false, false, null
