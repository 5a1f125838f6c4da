-- One row per board and month of closing: ConnectWise's own verdict on closed service tickets (isInSla)
-- beside ours, and why they differ. Ours: no stage that has a goal was missed, by its dates. The rule of
-- ConnectWise's is not public. Merged tickets are left out. Source: fct_ticket_all.
with tickets as (
    select
        board_id, date_trunc('month', closed_date::timestamp)::date as month, is_in_sla,
        coalesce(respond_settled, '') = 'missed' as respond_missed,
        coalesce(plan_settled, '') = 'missed' as plan_missed,
        coalesce(resolve_settled, '') = 'missed' as resolve_missed,
        'skipped' in (respond_settled, plan_settled, resolve_settled) as has_skipped,
        'missed' in (coalesce(respond_settled, ''), coalesce(plan_settled, ''), coalesce(resolve_settled, '')) as is_missed
    from {{reporting}}.fct_ticket_all
    where record_type = 'ServiceTicket' and is_closed and not is_merged and not is_deleted
      and is_in_sla is not null and closed_date is not null
      and {{only: date_trunc('month', closed_date::timestamp)::date}} and {{only from: closed_date, month}}
      and num_nonnulls(respond_settled, plan_settled, resolve_settled) > 0
)
select
    coalesce(b.id, -1) as board_id, -- board the tickets are on now
    t.month as month, -- first day of the month in which they were closed
    to_char(t.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    count(*) as tickets, -- closed tickets with a verdict and a goal
    count(*) filter (where is_in_sla) as connectwise_in_sla, -- within SLA, says ConnectWise
    count(*) filter (where not is_missed) as no_stage_missed, -- no stage missed, by our count
    count(*) filter (where is_in_sla = is_missed) as differing, -- where the two differ
    count(*) filter (where is_in_sla and respond_missed) as in_sla_but_respond_missed, -- ConnectWise: within; ours: response missed
    count(*) filter (where is_in_sla and plan_missed) as in_sla_but_plan_missed, -- ConnectWise: within; ours: plan missed
    count(*) filter (where is_in_sla and resolve_missed) as in_sla_but_resolve_missed, -- ConnectWise: within; ours: resolution missed
    count(*) filter (where not is_in_sla and not is_missed and has_skipped) as out_of_sla_with_skipped_stage, -- ConnectWise: not within; ours: none missed, but a stage was skipped
    count(*) filter (where not is_in_sla and not is_missed and not has_skipped) as out_of_sla_all_met, -- ConnectWise: not within; ours: every goal was met
    max(coalesce(location.id, -1)) as location_id, -- our location, the board's
    max(coalesce(department.id, -1)) as department_id -- our department, the board's
from tickets t
left join {{source}}.service_boards b on b.id = t.board_id
left join {{source}}.system_locations location on location.id = b.location_id
left join {{source}}.system_departments department on department.id = b.department_id
group by 1, 2, 3
