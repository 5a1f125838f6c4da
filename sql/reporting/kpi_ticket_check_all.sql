-- One row per block of 512 ticket numbers: how many of its service tickets have what kpi_data_readiness and
-- kpi_sla_reading look for, which are what reports should read. Source: fct_ticket_all.
with tickets as (
    select
        *,
        -- its minutes tell how the tenant counts them: see kpi_sla_reading
        coalesce(respond_skipped_minutes, 0) = 0 and coalesce(plan_skipped_minutes, 0) = 0
            and greatest(responded_at, planned_at) >= entered_at + interval '30 minutes'
            and resolved_at >= greatest(responded_at, planned_at)
            and resolve_recorded_minutes > 0 as is_judged,
        extract(epoch from resolved_at - coalesce(planned_at, responded_at)) / 60 as clock_minutes,
        case when planned_at is not null and responded_at is not null then plan_recorded_minutes end as plan_minutes
    from {{reporting}}.fct_ticket_all
    where not is_deleted and record_type = 'ServiceTicket' and {{only by index: ticket_block}}
)
select
    ticket_block, -- the ticket number divided by 512
    count(*) filter (where not is_merged and is_closed) as closed, -- closed, merged ones left out
    count(*) filter (where not is_merged and is_closed and (resolved_at is null or resolve_goal_at is null)) as closed_without_sla_dates, -- of these, without a resolution or its goal
    count(*) filter (where not is_merged and is_close_assumed) as closed_without_date, -- of these, without a closing date
    count(*) filter (where not is_merged and is_closed and time_entries = 0) as closed_without_time, -- of these, without time entries
    count(*) filter (where not is_merged and not is_closed) as open, -- open, merged ones left out
    count(*) filter (where not is_merged and not is_closed and owner_id is null) as open_without_owner, -- of these, without owner
    count(*) filter (where is_judged) as judged, -- whose minutes tell how they are counted
    count(*) filter (where is_judged and resolve_recorded_minutes > clock_minutes + 1) as resolve_above_clock, -- of these, with more resolve minutes than passed since the stage before
    count(*) filter (where is_judged and plan_minutes > 0 and respond_recorded_minutes > 0) as planned, -- of these, with minutes of both response and plan
    count(*) filter (where is_judged and plan_minutes > 0 and plan_minutes < respond_recorded_minutes) as plan_below_response -- of these, with fewer minutes to plan than to respond
from tickets
group by 1
