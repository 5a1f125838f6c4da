-- One row for the tenant: how it counts the minutes of its SLA stages, read off its tickets. Per
-- stage: respondMinutes, resPlanMinutes and resolveMinutes each begin where the stage before ended, and
-- a stage that was skipped has skipped minutes: response = respond + skipped; plan = respond + plan +
-- skipped; resolution = respond + plan + resolve. Cumulative: each counts from the entering. Judged are
-- tickets that were responded to or planned 30 minutes or more after they came in and then resolved,
-- nothing skipped. Under 50 of them, or if they disagree, it is unclear, and taken as per stage, as other
-- tools do. Source: fct_ticket_all.
with judged as (
    select
        extract(epoch from resolved_at - coalesce(planned_at, responded_at)) / 60 as clock_minutes,
        resolve_recorded_minutes as resolve_minutes,
        case when planned_at is not null and responded_at is not null then plan_recorded_minutes end as plan_minutes,
        respond_recorded_minutes as respond_minutes
    from {{reporting}}.fct_ticket_all
    where record_type = 'ServiceTicket' and not is_deleted
      and coalesce(respond_skipped_minutes, 0) = 0 and coalesce(plan_skipped_minutes, 0) = 0
      and greatest(responded_at, planned_at) >= entered_at + interval '30 minutes'
      and resolved_at >= greatest(responded_at, planned_at)
      and resolve_recorded_minutes > 0
),
counted as (
    select
        count(*) as tickets,
        count(*) filter (where resolve_minutes > clock_minutes + 1) as above,
        count(*) filter (where plan_minutes > 0 and respond_minutes > 0) as planned,
        count(*) filter (where plan_minutes > 0 and plan_minutes < respond_minutes) as below
    from judged
),
found as (
    select *,
        case
            when tickets < 50 then 'unclear'
            when above > 0.05 * tickets and below < 0.01 * greatest(planned, 1) then 'cumulative'
            when below > 0.05 * planned and above < 0.05 * tickets then 'per stage'
            when above < 0.01 * tickets then 'per stage'
            else 'unclear'
        end as reading
    from counted
)
select
    reading, -- per stage, cumulative or unclear
    case reading when 'cumulative' then 'cumulative' else 'per stage' end as taken_as, -- how fct_ticket and the KPIs take them: per stage or cumulative
    tickets, -- tickets that it was read off
    above as resolve_above_clock, -- of these, with more resolve minutes than passed since the stage before: only cumulative ones can
    planned as planned, -- of these, with minutes of both response and plan
    below as plan_below_response, -- of these, with fewer minutes to plan than to respond: only minutes per stage can
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from found
