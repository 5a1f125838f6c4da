-- One row per time sheet that has begun: is it handed in, and are its hours complete? Hours by local day
-- of work; capacity on working days of the member's calendar until today. Late entries were written down
-- more than 24 hours after the work. Sources: time/sheets, fct_member_day.
select
    s.id as timesheet_id, -- ConnectWise id
    coalesce(m.id, -1) as member_id, -- member
    s.date_start as starts_on, -- first day
    s.date_end as ends_on, -- last day
    left(s.deadline, 10) as deadline, -- day until which it has to be handed in, as ConnectWise writes it: 2026-01-31
    s.status as status, -- Open, Rejected, PendingApproval, ApprovedByTierOne, ApprovedByTierTwo, …
    coalesce(s.status not in ('Open', 'Rejected'), false) as is_submitted, -- handed in, approved or not
    coalesce(s.status like 'Approved%' or s.status like 'Billed%', false) as is_approved, -- approved
    coalesce(s.status, 'Open') in ('Open', 'Rejected') and s.date_end < today.date
        and coalesce(left(s.deadline, 10), to_char(s.date_end, 'YYYY-MM-DD')) < to_char(today.date, 'YYYY-MM-DD') as is_overdue, -- not handed in, and its deadline is over
    coalesce(d.capacity, 0) as hours_capacity, -- hours they could have worked in it so far
    coalesce(d.actual, 0) as hours_entered, -- hours of its time entries, time off included
    greatest(coalesce(d.capacity, 0) - coalesce(d.actual, 0), 0) as hours_missing, -- capacity that no entry accounts for
    coalesce(d.actual, 0) / nullif(d.capacity, 0) as share_entered, -- hours entered / capacity
    coalesce(d.entries, 0)::bigint as time_entries, -- time entries
    coalesce(d.late, 0)::bigint as late_time_entries, -- of these, late
    d.late::numeric / nullif(d.entries, 0) as late_rate, -- late / all
    coalesce(location.id, -1) as location_id, -- the member's default location
    coalesce(department.id, -1) as department_id -- the member's default department
from {{source}}.time_sheets s
cross join (select (now() at time zone {{time_zone}})::date as date) today
left join {{source}}.system_members m on m.id = s.member_id
left join {{source}}.system_locations location on location.id = m.default_location_id
left join {{source}}.system_departments department on department.id = m.default_department_id
left join lateral (
    select sum(hours_capacity) as capacity, sum(hours_actual) as actual, sum(time_entries) as entries, sum(late_time_entries) as late
    from {{reporting}}.fct_member_day
    where member_id = s.member_id and date between s.date_start and s.date_end
) d on true
where s._deleted_at is null and s.date_start <= today.date
