-- One row per member and week (Monday to Sunday, local days): how much of the capacity was worked,
-- utilized and billable, of hours worked and of hours billed. For a rate of several members leave out who
-- has no capacity (has_capacity). Sources: fct_member_day, system/members.
select
    k.member_id, -- member
    date_trunc('week', date)::date as week, -- Monday of the week
    to_char(date_trunc('week', date), 'YYYYMMDD')::int as week_id, -- the same, in dim_date
    bool_or(is_in_utilization) as is_in_utilization, -- counts in utilization
    bool_or(has_capacity) as has_capacity, -- has a daily capacity
    sum(hours_capacity) as hours_capacity, -- hours they could have worked, time off included
    sum(hours_time_off) as hours_time_off, -- time off, by time entries
    sum(hours_actual) as hours_actual, -- hours worked, time off included
    sum(hours_capacity) * max(m.billable_forecast) / 100 as hours_target, -- billable hours to reach: capacity times the member's billable forecast; empty: none is set
    sum(hours_billable) / nullif(sum(hours_capacity) * max(m.billable_forecast) / 100, 0) as target_reached, -- billable hours worked / target
    sum(hours_utilized) as hours_utilized, -- hours whose work type counts towards utilization
    sum(hours_billable) as hours_billable, -- hours worked on billable entries
    sum(hours_billed) as hours_billed, -- hours billed, rounded
    sum(hours_agreement) as hours_agreement, -- hours agreements covered
    sum(hours_utilized) / nullif(sum(hours_capacity), 0) as utilization, -- utilized / capacity
    sum(hours_utilized) / nullif(sum(hours_capacity) - sum(hours_time_off), 0) as utilization_of_available, -- utilized / capacity less time off
    sum(hours_billable) / nullif(sum(hours_capacity), 0) as billable_rate, -- billable hours worked / capacity
    sum(hours_billed) / nullif(sum(hours_actual), 0) as realization, -- hours billed / hours worked
    sum(time_entries)::bigint as time_entries, -- time entries
    sum(late_time_entries)::bigint as late_time_entries, -- of these, written down more than 24 hours after the work
    sum(labour_cost) as labour_cost, -- cost of the hours worked
    sum(revenue) as revenue, -- amount billed for them beside agreements; empty where clients have several currencies
    max(currency_id) as currency_id, -- the one currency of all clients; -1: none, or several
    max(coalesce(location.id, -1)) as location_id, -- the member's default location
    max(coalesce(department.id, -1)) as department_id -- the member's default department
from {{reporting}}.fct_member_day k
left join {{source}}.system_members m on m.id = k.member_id
left join {{source}}.system_locations location on location.id = m.default_location_id
left join {{source}}.system_departments department on department.id = m.default_department_id
group by 1, 2, 3
