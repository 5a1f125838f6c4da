-- One row per local day and board: what came in and what was closed that day. Service tickets only;
-- merged tickets are left out, children count. Counts and sums, so that they add up over days and
-- boards; divide them for averages. What is due whenever it was closed: kpi_sla_daily.
-- Sources: fct_ticket_all, kpi_sla_reading and the versions kept with every merge.
with tickets as not materialized ( -- each of the three asks the table for the days it needs
    -- No name of these may be one that fct_ticket_all had before: while it is upgraded, t.* has both.
    select t.*,
        case
            when t.responded_at is null and coalesce(t.respond_skipped_minutes, 0) = 0 then null
            else coalesce(t.respond_recorded_minutes, 0) + case r.taken_as when 'per stage' then coalesce(t.respond_skipped_minutes, 0) else 0 end
        end as respond_taken,
        case
            when t.resolved_at is null then null
            when r.taken_as = 'per stage' then coalesce(t.respond_recorded_minutes, 0) + coalesce(t.plan_recorded_minutes, 0) + coalesce(t.resolve_recorded_minutes, 0)
            else t.resolve_recorded_minutes
        end as resolve_taken
    from {{reporting}}.fct_ticket_all t
    cross join {{reporting}}.kpi_sla_reading r
    where t.record_type = 'ServiceTicket' and not t.is_merged and not t.is_deleted
),
opened as (
    select entered_date as date, board_id, count(*) as opened, count(*) filter (where closed_date = entered_date and is_closed) as same_day
    from tickets where entered_date is not null and {{only: entered_date}}
    group by 1, 2
),
closed as (
    select
        closed_date as date, board_id,
        count(*) as closed,
        count(*) filter (where time_entries > 0) as with_time,
        count(*) filter (where time_entries = 1) as first_touch,
        count(*) filter (where time_entries = 1 and closed_date = entered_date) as first_contact,
        sum(time_entries) as touches,
        count(*) filter (where time_members = 1) as single_member,
        count(*) filter (where is_in_sla) as in_sla,
        count(*) filter (where not is_in_sla) as out_of_sla,
        count(*) filter (where respond_settled in ('met', 'missed')) as respond_goals, count(*) filter (where respond_settled = 'met') as respond_met,
        count(*) filter (where plan_settled in ('met', 'missed')) as plan_goals, count(*) filter (where plan_settled = 'met') as plan_met,
        count(*) filter (where resolve_settled in ('met', 'missed')) as resolve_goals, count(*) filter (where resolve_settled = 'met') as resolve_met,
        count(respond_taken) as responded, sum(respond_taken) as respond_business, sum(respond_calendar_minutes) as respond_calendar,
        count(resolve_taken) as resolved, sum(resolve_taken) as resolve_business, sum(resolve_calendar_minutes) as resolve_calendar,
        sum(close_calendar_minutes) as close_calendar,
        sum(hours_actual) as hours,
        count(*) filter (where is_close_assumed) as assumed
    from tickets where is_closed and closed_date is not null and {{only: closed_date}}
    group by 1, 2
),
reopened as (
    select r.date, t.board_id, count(*) as reopened
    from (
        select p.id as ticket_id, (p._next_from at time zone {{time_zone}})::date as date
        from (
            select
                id, closed_flag, _next_from,
                lead(coalesce(closed_flag, false)) over (partition by id order by _next_from, _recorded_to) as next_closed
            from {{history}}.service_tickets
            where id in (select id from {{history}}.service_tickets where closed_flag)
        ) p
        join {{source}}.service_tickets s on s.id = p.id
        where p.closed_flag and not coalesce(p.next_closed, s.closed_flag, false)
    ) r
    join tickets t on t.ticket_id = r.ticket_id
    where {{only: r.date}}
    group by 1, 2
),
days as (
    select date, board_id from opened
    union select date, board_id from closed
    union select date, board_id from reopened
)
select
    d.date as date, -- local day
    to_char(d.date, 'YYYYMMDD')::int as date_id, -- the same, in dim_date
    coalesce(b.id, -1) as board_id, -- board the tickets are on now
    coalesce(o.opened, 0) as tickets_opened, -- came in that day
    coalesce(c.closed, 0) as tickets_closed, -- closed that day, and closed still
    coalesce(o.same_day, 0) as tickets_closed_same_day, -- came in that day and were closed before midnight, local time
    coalesce(r.reopened, 0) as tickets_reopened, -- closed before, opened again that day, as far as seen
    coalesce(c.closed, 0)::numeric / nullif(o.opened, 0) as kill_rate, -- closed / opened
    coalesce(o.same_day, 0)::numeric / nullif(o.opened, 0) as same_day_close_rate, -- closed the same day / opened
    coalesce(c.with_time, 0) as closed_with_time, -- of the closed, with time on them
    coalesce(c.first_touch, 0) as closed_first_touch, -- of these, with one time entry
    coalesce(c.single_member, 0) as closed_single_member, -- of these, with one member
    coalesce(c.in_sla, 0) as closed_in_sla, -- of the closed, within SLA by ConnectWise's own verdict
    coalesce(c.out_of_sla, 0) as closed_out_of_sla, -- of the closed, not within SLA
    c.in_sla::numeric / nullif(c.in_sla + c.out_of_sla, 0) as sla_rate, -- within SLA / closed with a verdict
    coalesce(c.respond_goals, 0) as respond_goals, -- of the closed, with a goal for the response that was met or missed, by none too
    coalesce(c.respond_met, 0) as respond_goals_met, -- of these, in time
    coalesce(c.plan_goals, 0) as plan_goals, -- of the closed, with a goal for the plan that was met or missed, by none too
    coalesce(c.plan_met, 0) as plan_goals_met, -- of these, in time
    coalesce(c.resolve_goals, 0) as resolve_goals, -- of the closed, with a goal for the resolution that was met or missed, by none too
    coalesce(c.resolve_met, 0) as resolve_goals_met, -- of these, in time
    coalesce(c.responded, 0) as responded, -- of the closed, with business minutes to the first response
    coalesce(c.respond_business, 0) as respond_business_minutes, -- sum of these, on the SLA's calendar
    coalesce(c.respond_calendar, 0) as respond_calendar_minutes, -- sum of minutes to the first response, around the clock
    coalesce(c.resolved, 0) as resolved, -- of the closed, with business minutes to the resolution
    coalesce(c.resolve_business, 0) as resolve_business_minutes, -- sum of these, on the SLA's calendar
    coalesce(c.resolve_calendar, 0) as resolve_calendar_minutes, -- sum of minutes to the resolution, around the clock
    coalesce(c.close_calendar, 0) as close_calendar_minutes, -- sum of minutes to the closing, around the clock
    coalesce(c.hours, 0) as hours_actual, -- hours worked on the closed
    coalesce(c.first_contact, 0) as closed_first_contact, -- of the closed with time, with one time entry and on the local day they came in
    coalesce(c.touches, 0)::bigint as time_entries, -- time entries on the closed (touches)
    coalesce(c.assumed, 0) as closed_without_date, -- of the closed, at their last change because ConnectWise has no date
    reading.taken_as as minutes_taken_as, -- how business minutes were taken, see kpi_sla_reading
    coalesce(location.id, -1) as location_id, -- our location, the board's
    coalesce(department.id, -1) as department_id -- our department, the board's
from days d
cross join {{reporting}}.kpi_sla_reading reading
left join opened o on o.date = d.date and o.board_id is not distinct from d.board_id
left join closed c on c.date = d.date and c.board_id is not distinct from d.board_id
left join reopened r on r.date = d.date and r.board_id is not distinct from d.board_id
left join {{source}}.service_boards b on b.id = d.board_id
left join {{source}}.system_locations location on location.id = b.location_id
left join {{source}}.system_departments department on department.id = b.department_id
