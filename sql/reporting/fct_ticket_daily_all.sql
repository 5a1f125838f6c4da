-- One row per local day and ticket that was open at the end of that day, for the last 400 full days, ids
-- as ConnectWise gave them. Board, status, priority, owner and company are as they were that day where
-- the change was seen, else as now. fct_ticket_daily is what reports should read.
-- Sources: fct_ticket_all and the history of changes.
with today as (select (now() at time zone {{time_zone}})::date as date),
tickets as (
    select
        ticket_id, record_type, board_id, status_id, priority_id, owner_id, company_id,
        entered_at, entered_date, closed_at, is_closed, last_updated,
        case record_type when 'ServiceTicket' then 'service/tickets' else 'project/tickets' end as entity
    from {{reporting}}.fct_ticket_all
    where not is_deleted and not is_merged and entered_at is not null and {{only: ticket_id}}
),
changes as materialized (
    select h.record_id as ticket_id, h.column_name, h.value, h.valid_from, h.valid_to
    from cw_sync.history h
    join tickets t on t.ticket_id = h.record_id and t.entity = h.entity
    where h.tenant = {{tenant}}
),
turns as (select * from changes where column_name = 'closed_flag'),
-- When tickets that changed while we watched were open.
spans as (
    -- neither closed nor reopened meanwhile
    select t.ticket_id, t.entered_at as opened_at, case when t.is_closed then coalesce(t.closed_at, t.last_updated) end as closed_at
    from tickets t
    where t.ticket_id in (select ticket_id from changes) and t.ticket_id not in (select ticket_id from turns)
    union all
    -- open until it was seen closed; the closing itself may have been earlier than the change seen
    select t.ticket_id, coalesce(turns.valid_from, t.entered_at),
        case when t.closed_at between coalesce(turns.valid_from, t.entered_at) and turns.valid_to then t.closed_at else turns.valid_to end
    from turns join tickets t using (ticket_id)
    where turns.value is distinct from 'true'
    union all
    -- closed when first seen, reopened since
    select t.ticket_id, t.entered_at, coalesce(was.value::timestamptz, turns.valid_to)
    from turns
    join tickets t using (ticket_id)
    left join changes was
        on was.ticket_id = t.ticket_id and was.column_name = 'closed_date' and was.valid_to = turns.valid_to
    where turns.value = 'true' and turns.valid_from is null
    union all
    -- open now, after having been closed
    select t.ticket_id, max(turns.valid_to), null
    from turns join tickets t using (ticket_id)
    where not t.is_closed
    group by t.ticket_id
),
days as (
    select
        d.date, t.ticket_id, t.record_type, t.entered_date,
        t.board_id, t.status_id, t.priority_id, t.owner_id, t.company_id
    from tickets t
    cross join today
    cross join lateral (
        select generate_series(
            greatest((t.entered_at at time zone {{time_zone}})::date, today.date - 400),
            least((case when t.is_closed then coalesce(t.closed_at, t.last_updated) end at time zone {{time_zone}})::date, today.date) - 1,
            interval '1 day'
        )::date as date
    ) d
    where t.ticket_id not in (select ticket_id from changes)
    union all
    select
        d.date, t.ticket_id, t.record_type, t.entered_date,
        case when board.record_id is null then t.board_id else board.value::bigint end,
        case when status.record_id is null then t.status_id else status.value::bigint end,
        case when priority.record_id is null then t.priority_id else priority.value::bigint end,
        case when owner.record_id is null then t.owner_id else owner.value::bigint end,
        case when company.record_id is null then t.company_id else company.value::bigint end
    from spans s
    join tickets t using (ticket_id)
    cross join today
    cross join lateral (
        select generate_series(
            greatest((s.opened_at at time zone {{time_zone}})::date, today.date - 400),
            least((s.closed_at at time zone {{time_zone}})::date, today.date) - 1,
            interval '1 day'
        )::date as date
    ) d
    left join lateral (
        select h.record_id, h.value from cw_sync.history h
        where h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = t.ticket_id
          and h.column_name = 'board_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
        order by h.valid_to limit 1
    ) board on true
    left join lateral (
        select h.record_id, h.value from cw_sync.history h
        where h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = t.ticket_id
          and h.column_name = 'status_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
        order by h.valid_to limit 1
    ) status on true
    left join lateral (
        select h.record_id, h.value from cw_sync.history h
        where h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = t.ticket_id
          and h.column_name = 'priority_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
        order by h.valid_to limit 1
    ) priority on true
    left join lateral (
        select h.record_id, h.value from cw_sync.history h
        where h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = t.ticket_id
          and h.column_name = 'owner_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
        order by h.valid_to limit 1
    ) owner on true
    left join lateral (
        select h.record_id, h.value from cw_sync.history h
        where h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = t.ticket_id
          and h.column_name = 'company_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
        order by h.valid_to limit 1
    ) company on true
)
select
    date, -- local day
    extract(year from date)::int * 10000 + extract(month from date)::int * 100 + extract(day from date)::int as date_id, -- the same, in dim_date
    ticket_id, -- ticket open at the end of that day
    record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    board_id, -- board that day
    status_id, -- status that day
    priority_id, -- priority that day
    owner_id, -- owner that day
    company_id, -- client that day
    date - entered_date as age_days -- full local days since it came in
from days
