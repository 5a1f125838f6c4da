-- One row per member and month: sales activities assigned to them, by the local day they begin. Sources:
-- fct_activity, system/members.
select
    a.member_id, -- who they are assigned to
    date_trunc('month', date)::date as month, -- first day of the month
    to_char(date_trunc('month', date), 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    count(*) as activities, -- calls, meetings, follow-ups
    count(*) filter (where is_closed) as activities_closed, -- of these, done
    count(*) filter (where is_overdue) as activities_overdue, -- of these, not done and past their end, as of now
    count(distinct opportunity_id) as opportunities, -- opportunities they were about
    count(distinct company_id) as companies, -- clients and prospects they were with
    max(coalesce(location.id, -1)) as location_id, -- the member's default location
    max(coalesce(department.id, -1)) as department_id -- the member's default department
from {{reporting}}.fct_activity a
left join {{source}}.system_members m on m.id = a.member_id
left join {{source}}.system_locations location on location.id = m.default_location_id
left join {{source}}.system_departments department on department.id = m.default_department_id
where date is not null
group by 1, 2, 3
