-- One row per ticket and span of time in one status, the present one included, ids as ConnectWise gave
-- them. fct_ticket_status_span is what reports should read. Sources: fct_ticket_all and the versions kept
-- with every merge.
with watched as (
    select entity, since from cw_sync.history_column where tenant = {{tenant}} and column_name = 'status_id'
),
tickets as (
    select *, case record_type when 'ServiceTicket' then 'service/tickets' else 'project/tickets' end as entity
    from {{reporting}}.fct_ticket_all where not is_deleted and not is_merged and {{only: ticket_id}}
),
past as (
    select 'service/tickets' as entity, id, status_id, _valid_to, _next_from, _recorded_to from {{history}}.service_tickets where {{only: id}}
    union all
    select 'project/tickets', id, status_id, _valid_to, _next_from, _recorded_to from {{history}}.project_tickets where {{only: id}}
),
-- Each version beside the status of the next one.
versions as (
    select
        t.ticket_id, t.entity, p.status_id, p._valid_to, p._next_from, p._recorded_to,
        case when lead(1) over w is null then t.status_id else lead(p.status_id) over w end as next_status
    from past p
    join tickets t on t.ticket_id = p.id and t.entity = p.entity
    window w as (partition by p.entity, p.id order by p._next_from, p._recorded_to)
),
ended as (
    select
        ticket_id, entity, status_id, _valid_to as ended_at, _next_from,
        lag(_next_from) over (partition by entity, ticket_id order by _next_from, _recorded_to) as began_at
    from versions
    where status_id is distinct from next_status
),
spans as (
    select t.ticket_id, t.board_id, t.company_id, t.location_id, t.department_id, e.status_id, coalesce(e.began_at, case when t.entered_at >= w.since then t.entered_at end) as began_at, e.ended_at
    from ended e
    join tickets t on t.ticket_id = e.ticket_id and t.entity = e.entity
    join watched w on w.entity = e.entity
    union all
    select t.ticket_id, t.board_id, t.company_id, t.location_id, t.department_id, t.status_id, coalesce(e.began_at, case when t.entered_at >= w.since then t.entered_at end), null
    from tickets t
    left join watched w on w.entity = t.entity
    left join (select ticket_id, entity, max(_next_from) as began_at from ended group by 1, 2) e
        on e.ticket_id = t.ticket_id and e.entity = t.entity
)
select
    s.ticket_id as ticket_id, -- ticket
    s.board_id as board_id, -- board now
    s.status_id as status_id, -- status
    s.company_id as company_id, -- client now
    s.location_id as location_id, -- our location now
    s.department_id as department_id, -- our department now
    s.began_at as began_at, -- since when; empty: since before it was watched
    s.ended_at as ended_at, -- until when; empty: still
    s.ended_at is null as is_current, -- its status now
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from spans s
