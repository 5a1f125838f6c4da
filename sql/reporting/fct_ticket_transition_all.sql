-- One row per change of a ticket that was seen: which column, from what, to what, when.
-- fct_ticket_transition is what reports should read. Sources: fct_ticket_all and the versions kept with
-- every merge.
with past as (
    select
        'service/tickets' as entity, h.id, h._next_from as changed_at, h._recorded_to,
        h.status_id, h.board_id, h.owner_id, h.priority_id, h.company_id, h.type_id, h.closed_flag, h.closed_date
    from {{history}}.service_tickets h
    where {{only: h.id}}
    union all
    select
        'project/tickets', h.id, h._next_from, h._recorded_to,
        h.status_id, h.board_id, h.owner_id, h.priority_id, h.company_id, h.type_id, h.closed_flag, h.closed_date
    from {{history}}.project_tickets h
    where {{only: h.id}}
),
versions as (
    select * from past
    union all
    select 'service/tickets', id, 'infinity', 'infinity', status_id, board_id, owner_id, priority_id, company_id, type_id, closed_flag, closed_date
    from {{source}}.service_tickets where id in (select id from past where entity = 'service/tickets')
    union all
    select 'project/tickets', id, 'infinity', 'infinity', status_id, board_id, owner_id, priority_id, company_id, type_id, closed_flag, closed_date
    from {{source}}.project_tickets where id in (select id from past where entity = 'project/tickets')
),
pairs as (
    select
        *,
        lead(status_id) over w as next_status, lead(board_id) over w as next_board, lead(owner_id) over w as next_owner,
        lead(priority_id) over w as next_priority, lead(company_id) over w as next_company, lead(type_id) over w as next_type,
        lead(closed_flag) over w as next_closed, lead(closed_date) over w as next_closed_date
    from versions
    window w as (partition by entity, id order by changed_at, _recorded_to)
)
select
    p.id as ticket_id, -- ticket
    p.entity as entity, -- service/tickets or project/tickets
    c.attribute as attribute, -- status_id, board_id, owner_id, priority_id, company_id, type_id, closed_flag or closed_date
    c.from_value as from_value, -- before
    c.to_value as to_value, -- after
    p.changed_at as transition_at, -- when, by the record's own stamp
    (p.changed_at at time zone {{time_zone}})::date as transition_date, -- local day of it
    t.company_id as company_id, -- client now
    t.board_id as board_id, -- board now
    t.location_id as location_id, -- our location now
    t.department_id as department_id, -- our department now
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from pairs p
join {{reporting}}.fct_ticket_all t on t.ticket_id = p.id and not t.is_deleted
cross join lateral (
    values
        ('status_id', p.status_id::text, p.next_status::text),
        ('board_id', p.board_id::text, p.next_board::text),
        ('owner_id', p.owner_id::text, p.next_owner::text),
        ('priority_id', p.priority_id::text, p.next_priority::text),
        ('company_id', p.company_id::text, p.next_company::text),
        ('type_id', p.type_id::text, p.next_type::text),
        ('closed_flag', p.closed_flag::text, p.next_closed::text),
        ('closed_date', p.closed_date::text, p.next_closed_date::text)
) c (attribute, from_value, to_value)
where p.changed_at < 'infinity' and c.from_value is distinct from c.to_value
