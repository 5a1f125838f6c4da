-- One row per value that an attribute of a record had and has no more: of tickets, time entries,
-- agreements, additions, invoices and opportunities. The present value is in the record's own row; whole
-- versions are in the schema cw_history. Source: the versions kept with every merge.
with past as (
    select 'service/tickets' as entity, h.id, 0 as parent_id, h._next_from, h._valid_to, to_jsonb(h) as said, to_jsonb(t) as present
    from {{history}}.service_tickets h left join {{source}}.service_tickets t on t.id = h.id
    union all
    select 'project/tickets', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t)
    from {{history}}.project_tickets h left join {{source}}.project_tickets t on t.id = h.id
    union all
    select 'time/entries', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t)
    from {{history}}.time_entries h left join {{source}}.time_entries t on t.id = h.id
    union all
    select 'finance/agreements', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t)
    from {{history}}.finance_agreements h left join {{source}}.finance_agreements t on t.id = h.id
    union all
    select 'finance/agreements/additions', h.id, h.parent_id, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t)
    from {{history}}.finance_agreements_additions h
    left join {{source}}.finance_agreements_additions t on t.id = h.id and t.parent_id = h.parent_id
    union all
    select 'finance/invoices', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t)
    from {{history}}.finance_invoices h left join {{source}}.finance_invoices t on t.id = h.id
    union all
    select 'sales/opportunities', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t)
    from {{history}}.sales_opportunities h left join {{source}}.sales_opportunities t on t.id = h.id
),
-- Each version beside the one after it.
versions as (
    select *, coalesce(lead(said) over (partition by entity, id, parent_id order by _next_from), present) as next_said
    from past
),
ended as (
    select v.entity, v.id, v.parent_id, a.key as attribute, a.value, v._valid_to, v._next_from
    from versions v
    cross join lateral jsonb_each_text(v.said) a
    where a.key not like '\_%' and a.key not in ('last_updated', 'updated_by')
      and a.value is distinct from v.next_said ->> a.key
)
select
    hashtextextended(format('%s/%s/%s/%s/%s', entity, parent_id, id, attribute, _next_from), 0) as change_id, -- tells the change from others
    entity as entity, -- list the record is in, service/tickets for example
    id as record_id, -- ConnectWise id
    nullif(parent_id, 0) as parent_id, -- id of the parent, of children
    attribute as attribute, -- column
    value as value, -- what it said, as text
    lag(_next_from) over (partition by entity, id, parent_id, attribute order by _next_from) as valid_from, -- since when; empty: since before it was watched
    _valid_to as valid_to -- until when, by the record's own stamp
from ended
