-- One row for the tenant: how it counts the minutes of its SLA stages, read off its tickets. Per
-- stage: respondMinutes, resPlanMinutes and resolveMinutes each begin where the stage before ended, and
-- a stage that was skipped has skipped minutes: response = respond + skipped; plan = respond + plan +
-- skipped; resolution = respond + plan + resolve. Cumulative: each counts from the entering. Judged are
-- tickets that were responded to or planned 30 minutes or more after they came in and then resolved,
-- nothing skipped. Under 50 of them, or if they disagree, it is unclear, and taken as per stage, as other
-- tools do. Source: kpi_ticket_check_all.
with counted as (
    select
        coalesce(sum(judged), 0)::bigint as tickets,
        coalesce(sum(resolve_above_clock), 0)::bigint as above,
        coalesce(sum(planned), 0)::bigint as planned,
        coalesce(sum(plan_below_response), 0)::bigint as below
    from {{reporting}}.kpi_ticket_check_all
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
