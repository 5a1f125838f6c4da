-- One row per member and local day from five years ago to today, while they worked for us: until they left,
-- or their record was deleted, which takes no past hour away. Capacity is
-- the member's daily capacity on working days of their calendar. Hours count on the local day the work
-- began. Sources: system/members, company/companies, schedule/calendars, schedule/holidayLists/holidays, time/entries,
-- time/chargeCodes, schedule/entries, system/locations, system/departments.
with members as (
    select
        m.*,
        case when c.id is null then -1 else c.id end as calendar,
        least(
            case when m.inactive_flag then coalesce((m.inactive_date at time zone 'UTC')::date, (m.last_updated at time zone {{time_zone}})::date) end,
            (m._deleted_at at time zone {{time_zone}})::date
        ) as left_on
    from {{source}}.system_members m
    left join {{source}}.schedule_calendars c on c.id = m.calendar_id
),
worked as (
    select
        e.member_id,
        e.work_date,
        count(*) as entries,
        count(*) filter (where e.entered_after_hours > 24) as late_entries,
        sum(e.hours_actual) as actual,
        sum(e.hours_actual) filter (where e.is_billable) as billable,
        sum(e.hours_billed) as billed,
        sum(e.hours_agreement) as agreement,
        sum(e.hours_actual) filter (where e.is_utilized and not coalesce(c.is_time_off, false)) as utilized,
        sum(e.hours_actual) filter (where e.charge_code_id is not null) as internal,
        sum(e.hours_actual) filter (where c.is_time_off) as time_off,
        sum(e.labour_cost) as labour_cost,
        sum(e.revenue) as revenue
    from {{reporting}}.fct_time_entry_all e
    left join {{reporting}}.dim_charge_code c on c.charge_code_id = e.charge_code_id
    where not e.is_deleted and {{only: e.member_id, e.work_date}}
    group by 1, 2
),
single as (
    select
        count(distinct c.currency_id) > 1 as has_several,
        case when count(distinct c.currency_id) = 1 then coalesce(min(currency.id), -1) else -1 end as currency_id
    from {{source}}.company_companies c
    left join {{source}}.finance_currencies currency on currency.id = c.currency_id
    where c._deleted_at is null
),
scheduled_off as (
    select s.member_id, (s.date_start at time zone {{time_zone}})::date as date, sum(s.hours) as hours
    from {{source}}.schedule_entries s
    join {{reporting}}.dim_schedule_type t on t.schedule_type_id = s.type_id and t.is_time_off
    where s._deleted_at is null
    group by 1, 2
)
select
    m.id as member_id, -- member
    d.date as date, -- local day
    to_char(d.date, 'YYYYMMDD')::int as date_id, -- the same, in dim_date
    coalesce(department.id, -1) as department_id, -- their default department now
    coalesce(m.include_in_utilization_reporting_flag, false) as is_in_utilization, -- counts in utilization
    coalesce(m.daily_capacity, 0) > 0 as has_capacity, -- has a daily capacity: without, hours would count and no capacity
    d.is_working_day as is_working_day, -- a working day of their calendar
    case when d.is_working_day then coalesce(m.daily_capacity, 0) else 0 end as hours_capacity, -- hours they could have worked
    coalesce(w.actual, 0) as hours_actual, -- hours worked, time off included
    coalesce(w.billable, 0) as hours_billable, -- of these, on billable time entries
    coalesce(w.billed, 0) as hours_billed, -- hours billed, rounded
    coalesce(w.agreement, 0) as hours_agreement, -- hours an agreement covered
    coalesce(w.utilized, 0) as hours_utilized, -- hours whose work type counts towards utilization
    coalesce(w.internal, 0) as hours_internal, -- hours on charge codes, time off included
    coalesce(w.time_off, 0) as hours_time_off, -- hours on charge codes that are time off
    coalesce(s.hours, 0) as hours_scheduled_off, -- hours that the calendar has as time off
    coalesce(w.labour_cost, 0) as labour_cost, -- cost of the hours worked
    case when not single.has_several then coalesce(w.revenue, 0) end as revenue, -- amount billed for them beside agreements; empty where clients have several currencies
    coalesce(w.entries, 0) as time_entries, -- time entries
    coalesce(w.late_entries, 0) as late_time_entries, -- of these, written down more than 24 hours after the work
    single.currency_id as currency_id, -- the one currency of all clients; -1: none, or several, and fct_time_entry has each
    coalesce(location.id, -1) as location_id, -- their default location now
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from members m
cross join single
join {{reporting}}.dim_calendar_day d
    on d.calendar_id = m.calendar
   and d.date <= (now() at time zone {{time_zone}})::date
left join {{source}}.system_departments department on department.id = m.default_department_id
left join {{source}}.system_locations location on location.id = m.default_location_id
left join worked w on w.member_id = m.id and w.work_date = d.date
left join scheduled_off s on s.member_id = m.id and s.date = d.date
where {{only: m.id, d.date}}
  and (w.member_id is not null
   or d.date >= coalesce((m.hire_date at time zone 'UTC')::date, (m.date_entered at time zone {{time_zone}})::date, d.date)
       and (m.left_on is null or d.date < m.left_on))
