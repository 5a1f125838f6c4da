-- One row per local day and ticket that was open at the end of that day: the backlog, for the last 400
-- full days. Board, status, priority, owner and company are as they were that day where the change was
-- seen, else as now. Merged tickets are left out. Source: fct_ticket_all and the history of changes.
with tickets as (
    select *, case record_type when 'ServiceTicket' then 'service/tickets' else 'project/tickets' end as entity
    from {{reporting}}.fct_ticket_all
    where not is_deleted and not is_merged and entered_at is not null and {{only: ticket_id}}
),
changes as (
    select h.record_id as ticket_id, h.column_name, h.value, h.valid_from, h.valid_to
    from cw_sync.history h
    join tickets t on t.ticket_id = h.record_id and t.entity = h.entity
    where h.tenant = {{tenant}}
),
turns as (select * from changes where column_name = 'closed_flag'),
spans as (
    -- neither closed nor reopened while we watched
    select t.ticket_id, t.entered_at as opened_at, case when t.is_closed then coalesce(t.closed_at, t.last_updated) end as closed_at
    from tickets t
    where not exists (select from turns where turns.ticket_id = t.ticket_id)
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
    select distinct s.ticket_id, d::date as date
    from spans s
    cross join lateral generate_series(
        greatest((s.opened_at at time zone {{time_zone}})::date, (now() at time zone {{time_zone}})::date - 400),
        least((s.closed_at at time zone {{time_zone}})::date, (now() at time zone {{time_zone}})::date) - 1,
        interval '1 day'
    ) d
)
select
    d.date as date, -- local day
    to_char(d.date, 'YYYYMMDD')::int as date_id, -- the same, in dim_date
    t.ticket_id as ticket_id, -- ticket open at the end of that day
    t.record_type as record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    case when board.record_id is null then t.board_id else board.value::bigint end as board_id, -- board that day
    case when status.record_id is null then t.status_id else status.value::bigint end as status_id, -- status that day
    case when priority.record_id is null then t.priority_id else priority.value::bigint end as priority_id, -- priority that day
    case when owner.record_id is null then t.owner_id else owner.value::bigint end as owner_id, -- owner that day
    case when company.record_id is null then t.company_id else company.value::bigint end as company_id, -- client that day
    d.date - t.entered_date as age_days -- full local days since it came in
from days d
join tickets t using (ticket_id)
left join (select distinct ticket_id from changes) moved on moved.ticket_id = t.ticket_id
left join lateral (
    select h.record_id, h.value from cw_sync.history h
    where moved.ticket_id is not null and h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = d.ticket_id
      and h.column_name = 'board_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
    order by h.valid_to limit 1
) board on true
left join lateral (
    select h.record_id, h.value from cw_sync.history h
    where moved.ticket_id is not null and h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = d.ticket_id
      and h.column_name = 'status_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
    order by h.valid_to limit 1
) status on true
left join lateral (
    select h.record_id, h.value from cw_sync.history h
    where moved.ticket_id is not null and h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = d.ticket_id
      and h.column_name = 'priority_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
    order by h.valid_to limit 1
) priority on true
left join lateral (
    select h.record_id, h.value from cw_sync.history h
    where moved.ticket_id is not null and h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = d.ticket_id
      and h.column_name = 'owner_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
    order by h.valid_to limit 1
) owner on true
left join lateral (
    select h.record_id, h.value from cw_sync.history h
    where moved.ticket_id is not null and h.tenant = {{tenant}} and h.entity = t.entity and h.record_id = d.ticket_id
      and h.column_name = 'company_id' and h.valid_to > (d.date + 1)::timestamp at time zone {{time_zone}}
    order by h.valid_to limit 1
) company on true
