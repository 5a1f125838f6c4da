-- One row per member, month, kind of work and work type: where the hours went. Hours worked, by local day
-- of the begin. Sources: fct_time_entry_all, dim_charge_code.
with entries as (
    select
        e.member_id, e.work_type_id, e.department_id, e.location_id, date_trunc('month', e.work_date::timestamp)::date as month,
        case
            when c.is_time_off then 'time off'
            when e.charge_code_id is not null then 'internal'
            when e.hours_agreement > 0 then 'client, covered by an agreement'
            when e.is_billable then 'client, billed'
            else 'client, not billed'
        end as kind_of_work,
        e.hours_actual, e.hours_billed, e.hours_agreement, e.labour_cost
    from {{reporting}}.fct_time_entry_all e
    left join {{reporting}}.dim_charge_code c on c.charge_code_id = e.charge_code_id
    where not e.is_deleted and e.work_date is not null
      and {{only: date_trunc('month', e.work_date::timestamp)::date}} and {{only from: e.work_date, month}}
)
select
    coalesce(m.id, -1) as member_id, -- member
    e.month as month, -- first day of the month
    to_char(e.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    e.kind_of_work as kind_of_work, -- client, billed; client, covered by an agreement; client, not billed; internal; time off
    coalesce(w.id, -1) as work_type_id, -- work type
    count(*) as time_entries, -- time entries
    sum(e.hours_actual) as hours_actual, -- hours worked
    sum(e.hours_billed) as hours_billed, -- hours billed, rounded
    sum(e.hours_agreement) as hours_agreement, -- hours agreements covered
    sum(e.labour_cost) as labour_cost, -- cost of the hours worked
    max(coalesce(location.id, -1)) as location_id, -- the member's default location
    max(coalesce(department.id, -1)) as department_id -- the member's default department
from entries e
left join {{source}}.system_members m on m.id = e.member_id
left join {{source}}.system_locations location on location.id = m.default_location_id
left join {{source}}.system_departments department on department.id = m.default_department_id
left join {{source}}.time_work_types w on w.id = e.work_type_id
group by coalesce(m.id, -1), e.month, e.kind_of_work, coalesce(w.id, -1)
