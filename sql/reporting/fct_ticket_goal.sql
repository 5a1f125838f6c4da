-- One row per service ticket and stage of its SLA that has a goal: respond, plan and resolve, with every
-- key of the ticket. For a rate by any of them: count(*) filter (where is_met) over count(*) filter (where
-- is_counted), by goal_date. Counted are met, missed and overdue: who never answered counts. Merged
-- tickets are left out. Source: fct_ticket.
select
    ticket_id,
    'respond' as stage,
    1 as stage_number,
    respond_goal_at as goal_at,
    respond_goal_date as goal_date,
    coalesce(to_char(respond_goal_date, 'YYYYMMDD')::int, -1) as goal_date_id,
    responded_at as reached_at,
    respond_state as state,
    respond_state in ('met', 'missed', 'overdue') as is_counted,
    respond_state = 'met' as is_met,
    respond_business_minutes as business_minutes,
    record_type,
    is_closed,
    is_in_sla,
    entered_at,
    company_id,
    site_id,
    contact_id,
    board_id,
    team_id,
    status_id,
    type_id,
    sub_type_id,
    item_id,
    priority_id,
    sla_id,
    source_id,
    owner_id,
    location_id,
    department_id,
    service_location_id,
    agreement_id,
    changed_at
from {{reporting}}.fct_ticket
where respond_goal_at is not null and not is_merged
union all
select
    ticket_id,
    'plan' as stage,
    2 as stage_number,
    plan_goal_at as goal_at,
    plan_goal_date as goal_date,
    coalesce(to_char(plan_goal_date, 'YYYYMMDD')::int, -1) as goal_date_id,
    planned_at as reached_at,
    plan_state as state,
    plan_state in ('met', 'missed', 'overdue') as is_counted,
    plan_state = 'met' as is_met,
    plan_business_minutes as business_minutes,
    record_type,
    is_closed,
    is_in_sla,
    entered_at,
    company_id,
    site_id,
    contact_id,
    board_id,
    team_id,
    status_id,
    type_id,
    sub_type_id,
    item_id,
    priority_id,
    sla_id,
    source_id,
    owner_id,
    location_id,
    department_id,
    service_location_id,
    agreement_id,
    changed_at
from {{reporting}}.fct_ticket
where plan_goal_at is not null and not is_merged
union all
select
    ticket_id, -- ticket
    'resolve' as stage, -- respond, plan or resolve
    3 as stage_number, -- 1, 2 or 3
    resolve_goal_at as goal_at, -- when it is due
    resolve_goal_date as goal_date, -- local day on which it is due
    coalesce(to_char(resolve_goal_date, 'YYYYMMDD')::int, -1) as goal_date_id, -- the same, in dim_date
    resolved_at as reached_at, -- when the stage was reached; empty: not, or skipped
    resolve_state as state, -- met, missed, overdue, open, paused or skipped, see fct_ticket
    resolve_state in ('met', 'missed', 'overdue') as is_counted, -- counts in the rate
    resolve_state = 'met' as is_met, -- reached by the goal
    resolve_business_minutes as business_minutes, -- minutes to the stage on the SLA's calendar, by the reading of kpi_sla_reading
    record_type, -- ServiceTicket: only these have goals
    is_closed, -- the ticket is closed now
    is_in_sla, -- ConnectWise's own verdict on all stages
    entered_at, -- when the ticket came in
    company_id, -- client
    site_id, -- site of the client
    contact_id, -- who asked
    board_id, -- board
    team_id, -- team of the board
    status_id, -- status now
    type_id, -- type
    sub_type_id, -- subtype
    item_id, -- item
    priority_id, -- priority
    sla_id, -- service level agreement
    source_id, -- how it came in
    owner_id, -- member who owns it
    location_id, -- our location
    department_id, -- our department
    service_location_id, -- where the work is done
    agreement_id, -- agreement it is done under
    changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_ticket
where resolve_goal_at is not null and not is_merged
