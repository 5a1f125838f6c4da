-- One row per local day and board: SLA goals of service tickets that are due that day, whatever became of
-- them. The rates count who never answered: met / (met + missed + overdue). Days to come have goals that
-- were met before; leave them out. Merged tickets are left out. By other keys: fct_ticket_goal. Sources:
-- kpi_sla_daily_all, fct_ticket_goal.
with goals as (
    select date, board_id, stage, sum(met) as met, sum(missed) as missed, sum(skipped) as skipped,
        0::bigint as overdue, 0::bigint as open, 0::bigint as paused
    from {{reporting}}.kpi_sla_daily_all
    group by 1, 2, 3
    union all
    select goal_date, board_id, stage, 0, 0, 0,
        count(*) filter (where state = 'overdue'), count(*) filter (where state = 'open'), count(*) filter (where state = 'paused')
    from {{reporting}}.fct_ticket_goal
    where not is_closed and state in ('overdue', 'open', 'paused') and record_type = 'ServiceTicket'
    group by 1, 2, 3
)
select
    g.date as date, -- local day on which the goals are due
    to_char(g.date, 'YYYYMMDD')::int as date_id, -- the same, in dim_date
    coalesce(b.id, -1) as board_id, -- board the tickets are on now
    coalesce(sum(g.met) filter (where g.stage = 'respond'), 0)::bigint as respond_met, -- responses by their goal
    coalesce(sum(g.missed) filter (where g.stage = 'respond'), 0)::bigint as respond_missed, -- responses later than their goal, or the ticket was closed without after it
    coalesce(sum(g.overdue) filter (where g.stage = 'respond'), 0)::bigint as respond_overdue, -- none yet, and past the goal
    coalesce(sum(g.open) filter (where g.stage = 'respond'), 0)::bigint as respond_open, -- none yet, and not due yet
    coalesce(sum(g.paused) filter (where g.stage = 'respond'), 0)::bigint as respond_paused, -- the ticket waits: its goal moves
    coalesce(sum(g.skipped) filter (where g.stage = 'respond'), 0)::bigint as respond_skipped, -- a later stage or the closing came by the goal
    sum(g.met) filter (where g.stage = 'respond') / nullif(sum(g.met + g.missed + g.overdue) filter (where g.stage = 'respond'), 0) as respond_rate, -- met / (met + missed + overdue)
    coalesce(sum(g.met) filter (where g.stage = 'plan'), 0)::bigint as plan_met, -- plans by their goal
    coalesce(sum(g.missed) filter (where g.stage = 'plan'), 0)::bigint as plan_missed, -- plans later than their goal, or the ticket was closed without after it
    coalesce(sum(g.overdue) filter (where g.stage = 'plan'), 0)::bigint as plan_overdue, -- none yet, and past the goal
    coalesce(sum(g.open) filter (where g.stage = 'plan'), 0)::bigint as plan_open, -- none yet, and not due yet
    coalesce(sum(g.paused) filter (where g.stage = 'plan'), 0)::bigint as plan_paused, -- the ticket waits: its goal moves
    coalesce(sum(g.skipped) filter (where g.stage = 'plan'), 0)::bigint as plan_skipped, -- a later stage or the closing came by the goal
    sum(g.met) filter (where g.stage = 'plan') / nullif(sum(g.met + g.missed + g.overdue) filter (where g.stage = 'plan'), 0) as plan_rate, -- met / (met + missed + overdue)
    coalesce(sum(g.met) filter (where g.stage = 'resolve'), 0)::bigint as resolve_met, -- resolutions by their goal
    coalesce(sum(g.missed) filter (where g.stage = 'resolve'), 0)::bigint as resolve_missed, -- resolutions later than their goal, or the ticket was closed without after it
    coalesce(sum(g.overdue) filter (where g.stage = 'resolve'), 0)::bigint as resolve_overdue, -- none yet, and past the goal
    coalesce(sum(g.open) filter (where g.stage = 'resolve'), 0)::bigint as resolve_open, -- none yet, and not due yet
    coalesce(sum(g.paused) filter (where g.stage = 'resolve'), 0)::bigint as resolve_paused, -- the ticket waits: its goal moves
    coalesce(sum(g.skipped) filter (where g.stage = 'resolve'), 0)::bigint as resolve_skipped, -- a later stage or the closing came by the goal
    sum(g.met) filter (where g.stage = 'resolve') / nullif(sum(g.met + g.missed + g.overdue) filter (where g.stage = 'resolve'), 0) as resolve_rate, -- met / (met + missed + overdue)
    max(coalesce(location.id, -1)) as location_id, -- our location, the board's
    max(coalesce(department.id, -1)) as department_id -- our department, the board's
from goals g
left join {{source}}.service_boards b on b.id = g.board_id
left join {{source}}.system_locations location on location.id = b.location_id
left join {{source}}.system_departments department on department.id = b.department_id
group by g.date, coalesce(b.id, -1)
