-- One row per local day and ticket that was open at the end of that day, for the last 400 full days, ids
-- as ConnectWise gave them. Everything is as the version said that was valid then, the first one that was
-- seen before that; a ticket that was merged or deleted since counts until then. fct_ticket_daily is what
-- reports should read. Sources: fct_ticket_all and the versions kept with every merge.
with today as (select (now() at time zone {{time_zone}})::date as date),
tickets as (
    select ticket_id, record_type, entered_at, entered_date, record_type = 'ServiceTicket' as is_service
    from {{reporting}}.fct_ticket_all
    where entered_at is not null and {{only by index: ticket_id}}
),
versions as (
    select
        t.ticket_id, t.record_type, t.entered_date, v.board_id, v.status_id, v.priority_id, v.owner_id, v.company_id,
        v.is_closed, v.closed_at, v.is_merged, v._valid_to, v._is_first,
        case when v._is_first then t.entered_at else v._valid_from end as _valid_from
    from tickets t
    join (
        select
            true as is_service, id, board_id, status_id, priority_id, owner_id, company_id,
            coalesce(closed_flag, false) as is_closed, coalesce(closed_date, last_updated) as closed_at,
            merged_parent_ticket_id is not null as is_merged, _valid_from, _valid_to, _is_first
        from {{versions}}.service_tickets v
        where {{only by index: id}}
        union all
        select
            false, id, board_id, status_id, priority_id, owner_id, company_id,
            coalesce(closed_flag, false), coalesce(closed_date, last_updated), false, _valid_from, _valid_to, _is_first
        from {{versions}}.project_tickets v
        where {{only by index: id}}
    ) v on v.id = t.ticket_id and v.is_service = t.is_service
),
beside_next as (
    select
        *,
        lead(is_closed) over w as next_is_closed,
        lead(closed_at) over w as next_closed_at
    from versions
    window w as (partition by ticket_id order by _valid_from, _valid_to)
),
-- When each version was open.
spans as (
    select
        *,
        case
            -- closed when it was first seen: open until it was closed
            when is_closed and _is_first then least(closed_at, _valid_to)
            when is_closed then _valid_from
            -- the closing may have been earlier than the change that was seen
            when next_is_closed and next_closed_at between _valid_from and _valid_to then next_closed_at
            else _valid_to
        end as open_to
    from beside_next
    where not is_merged
)
select
    d.date as date, -- local day
    extract(year from d.date)::int * 10000 + extract(month from d.date)::int * 100 + extract(day from d.date)::int as date_id, -- the same, in dim_date
    s.ticket_id as ticket_id, -- ticket open at the end of that day
    s.record_type as record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    s.board_id as board_id, -- board that day
    s.status_id as status_id, -- status that day
    s.priority_id as priority_id, -- priority that day
    s.owner_id as owner_id, -- owner that day
    s.company_id as company_id, -- client that day
    d.date - s.entered_date as age_days, -- full local days since it came in
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from spans s
cross join today
cross join lateral (
    select generate_series(
        greatest((s._valid_from at time zone {{time_zone}})::date, today.date - 400),
        least((s.open_to at time zone {{time_zone}})::date, today.date) - 1,
        interval '1 day'
    )::date as date
) d
