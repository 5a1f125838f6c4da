-- One row per value that an attribute of a record had and has no more: of tickets, time entries,
-- agreements, additions, invoices and opportunities. The present value is in the record's own row; whole
-- versions are in tables like service_tickets__versions. Source: the versions kept with every merge.
with past as (
    select 'service/tickets' as entity, h.id, 0 as parent_id, h._next_from, h._valid_to, to_jsonb(h) as said, to_jsonb(t) as present,
        h._recorded_to, t._synced_at, t.company_id, t.location_id, t.department_id
    from {{history}}.service_tickets h left join {{source}}.service_tickets t on t.id = h.id
    union all
    select 'project/tickets', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t), h._recorded_to, t._synced_at, t.company_id, t.location_id, t.department_id
    from {{history}}.project_tickets h left join {{source}}.project_tickets t on t.id = h.id
    union all
    select 'time/entries', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t), h._recorded_to, t._synced_at, t.company_id, t.location_ref_id, t.department_id
    from {{history}}.time_entries h left join {{source}}.time_entries t on t.id = h.id
    union all
    select 'finance/agreements', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t), h._recorded_to, t._synced_at, t.company_id, t.location_id, t.department_id
    from {{history}}.finance_agreements h left join {{source}}.finance_agreements t on t.id = h.id
    union all
    select 'finance/agreements/additions', h.id, h.parent_id, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t), h._recorded_to, greatest(t._synced_at, a._synced_at), a.company_id, a.location_id, a.department_id
    from {{history}}.finance_agreements_additions h
    left join {{source}}.finance_agreements_additions t on t.id = h.id and t.parent_id = h.parent_id
    left join {{source}}.finance_agreements a on a.id = h.parent_id
    union all
    select 'finance/invoices', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t), h._recorded_to, t._synced_at, t.company_id, t.location_id, t.department_id
    from {{history}}.finance_invoices h left join {{source}}.finance_invoices t on t.id = h.id
    union all
    select 'sales/opportunities', h.id, 0, h._next_from, h._valid_to, to_jsonb(h), to_jsonb(t), h._recorded_to, t._synced_at, t.company_id, t.location_id, t.business_unit_id
    from {{history}}.sales_opportunities h left join {{source}}.sales_opportunities t on t.id = h.id
),
-- Each version beside the one after it.
versions as (
    select *, coalesce(lead(said) over (partition by entity, id, parent_id order by _next_from), present) as next_said
    from past
),
ended as (
    select v.entity, v.id, v.parent_id, a.key as attribute, a.value, v._valid_to, v._next_from, v._recorded_to, v._synced_at, v.company_id, v.location_id, v.department_id
    from versions v
    cross join lateral jsonb_each_text(v.said) a
    where a.key not like '\_%' and a.key not in ('last_updated', 'updated_by')
      and a.value is distinct from v.next_said ->> a.key
      -- versions that ended before the column was kept are empty there, whatever it said
      and (a.value is not null or exists (
          select from cw_sync.history_column c
          where c.tenant = {{tenant}} and c.entity = v.entity and c.column_name = a.key and c.since <= v._recorded_to
      ))
)
select
    hashtextextended(format('%s/%s/%s/%s/%s', e.entity, e.parent_id, e.id, e.attribute, e._next_from), 0) as change_id, -- tells the change from others
    e.entity as entity, -- list the record is in, service/tickets for example
    e.id as record_id, -- ConnectWise id
    nullif(e.parent_id, 0) as parent_id, -- id of the parent, of children
    e.attribute as attribute, -- column
    e.value as value, -- what it said, as text
    lag(e._next_from) over (partition by e.entity, e.id, e.parent_id, e.attribute order by e._next_from) as valid_from, -- since when; empty: since before it was watched
    e._valid_to as valid_to, -- until when, by the record's own stamp
    coalesce(company.id, -1) as company_id, -- client of the record now
    coalesce(location.id, -1) as location_id, -- our location now
    coalesce(department.id, -1) as department_id, -- our department now
    greatest(e._recorded_to, e._synced_at, company._synced_at, location._synced_at, department._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from ended e
left join {{source}}.company_companies company on company.id = e.company_id
left join {{source}}.system_locations location on location.id = e.location_id
left join {{source}}.system_departments department on department.id = e.department_id
