-- One row per member and month: service tickets they own that were closed in it, and the hours they
-- worked in it. Merged tickets are left out. Sources: fct_ticket_all, kpi_sla_reading, fct_member_day,
-- service/surveys/results.
with closed as (
    select
        owner_id as member_id, date_trunc('month', closed_date)::date as month,
        count(*) as tickets,
        count(*) filter (where is_in_sla) as in_sla,
        count(is_in_sla) as with_sla,
        count(*) filter (where time_entries = 1) as first_touch,
        sum(respond_recorded_minutes) filter (where responded_at is not null or respond_skipped_minutes > 0)
            + case (select taken_as from {{reporting}}.kpi_sla_reading) when 'per stage' then coalesce(sum(respond_skipped_minutes), 0) else 0 end as respond_minutes,
        count(*) filter (where responded_at is not null or respond_skipped_minutes > 0) as responded,
        sum(resolve_recorded_minutes
            + case (select taken_as from {{reporting}}.kpi_sla_reading) when 'per stage' then coalesce(respond_recorded_minutes, 0) + coalesce(plan_recorded_minutes, 0) else 0 end
        ) filter (where resolved_at is not null) as resolve_minutes,
        count(*) filter (where resolved_at is not null) as resolved,
        count(*) filter (where is_close_assumed) as assumed
    from {{reporting}}.fct_ticket_all
    where is_closed and closed_date is not null and record_type = 'ServiceTicket' and not is_merged and not is_deleted
      and {{only: date_trunc('month', closed_date)::date}} and {{only from: closed_date, month}}
    group by 1, 2
),
worked as (
    select member_id, date_trunc('month', date)::date as month, sum(hours_actual) as actual, sum(hours_billable) as billable
    from {{reporting}}.fct_member_day
    where {{only: date_trunc('month', date)::date}} and {{only from: date, month}}
    group by 1, 2
    having sum(hours_actual) > 0
),
answered as (
    select t.owner_id as member_id, date_trunc('month', s.answered_date)::date as month, count(*) as answers, sum(s.points) as points
    from {{reporting}}.fct_survey s
    join {{reporting}}.fct_ticket_all t on t.ticket_id = s.ticket_id and not t.is_deleted
    where {{only: date_trunc('month', s.answered_date)::date}}
    group by 1, 2
),
months as (
    select member_id, month from closed union select member_id, month from worked union select member_id, month from answered
)
select
    coalesce(m.id, -1) as member_id, -- member
    k.month as month, -- first day of the month
    to_char(k.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    coalesce(sum(c.tickets), 0)::bigint as tickets_closed, -- their service tickets closed that month
    coalesce(sum(c.first_touch), 0)::bigint as closed_first_touch, -- of these, with one time entry
    coalesce(sum(c.in_sla), 0)::bigint as closed_in_sla, -- of these, within SLA by ConnectWise's own verdict
    coalesce(sum(c.with_sla), 0)::bigint as closed_with_sla, -- of these, with a verdict
    sum(c.respond_minutes)::numeric / nullif(sum(c.responded), 0) as average_respond_business_minutes, -- to the first response, on the SLA's calendar
    sum(c.resolve_minutes)::numeric / nullif(sum(c.resolved), 0) as average_resolve_business_minutes, -- to the resolution, on the SLA's calendar
    coalesce(sum(w.actual), 0) as hours_actual, -- hours they worked
    coalesce(sum(w.billable), 0) as hours_billable, -- of these, billable
    coalesce(sum(a.answers), 0)::bigint as survey_answers, -- answers about their tickets
    sum(a.points)::numeric / nullif(sum(a.answers), 0) as average_survey_points, -- points an answer gave
    coalesce(sum(c.assumed), 0)::bigint as closed_without_date, -- of the closed, at their last change because ConnectWise has no date
    (select taken_as from {{reporting}}.kpi_sla_reading) as minutes_taken_as, -- how business minutes were taken, see kpi_sla_reading
    max(coalesce(location.id, -1)) as location_id, -- the member's default location
    max(coalesce(department.id, -1)) as department_id -- the member's default department
from months k
left join closed c on c.member_id is not distinct from k.member_id and c.month = k.month
left join worked w on w.member_id is not distinct from k.member_id and w.month = k.month
left join answered a on a.member_id is not distinct from k.member_id and a.month = k.month
left join {{source}}.system_members m on m.id = k.member_id
left join {{source}}.system_locations location on location.id = m.default_location_id
left join {{source}}.system_departments department on department.id = m.default_department_id
group by 1, 2, 3
