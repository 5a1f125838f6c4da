-- One row per value that an attribute of a record had and has no more: of tickets, time entries,
-- agreements, additions, invoices and opportunities, deleted ones included. fct_change is what reports
-- should read. Sources: the versions kept with every merge, and the records as they are. Versions may begin at
-- one moment, where a record had no stamp and then an old one: the one recorded first is the earlier one.
with versions as (
    select
        'service/tickets' as entity, h.id, 0::bigint as parent_id, h._next_from, h._valid_to, h._recorded_to, to_jsonb(h) as said,
        -- the version after it; of the last one the present row
        coalesce(to_jsonb(lead(h) over (partition by h.id order by h._next_from, h._recorded_to)), to_jsonb(t)) as next_said,
        t.company_id, t.location_id, t.department_id
    from {{history}}.service_tickets h
    left join {{source}}.service_tickets t on t.id = h.id
    where {{only: 'service/tickets', h.id, 0}}
    union all
    select
        'project/tickets', h.id, 0, h._next_from, h._valid_to, h._recorded_to, to_jsonb(h),
        coalesce(to_jsonb(lead(h) over (partition by h.id order by h._next_from, h._recorded_to)), to_jsonb(t)),
        t.company_id, t.location_id, t.department_id
    from {{history}}.project_tickets h
    left join {{source}}.project_tickets t on t.id = h.id
    where {{only: 'project/tickets', h.id, 0}}
    union all
    select
        'time/entries', h.id, 0, h._next_from, h._valid_to, h._recorded_to, to_jsonb(h),
        coalesce(to_jsonb(lead(h) over (partition by h.id order by h._next_from, h._recorded_to)), to_jsonb(t)),
        t.company_id, t.location_ref_id, t.department_id
    from {{history}}.time_entries h
    left join {{source}}.time_entries t on t.id = h.id
    where {{only: 'time/entries', h.id, 0}}
    union all
    select
        'finance/agreements', h.id, 0, h._next_from, h._valid_to, h._recorded_to, to_jsonb(h),
        coalesce(to_jsonb(lead(h) over (partition by h.id order by h._next_from, h._recorded_to)), to_jsonb(t)),
        t.company_id, t.location_id, t.department_id
    from {{history}}.finance_agreements h
    left join {{source}}.finance_agreements t on t.id = h.id
    where {{only: 'finance/agreements', h.id, 0}}
    union all
    select
        'finance/agreements/additions', h.id, h.parent_id, h._next_from, h._valid_to, h._recorded_to, to_jsonb(h),
        coalesce(to_jsonb(lead(h) over (partition by h.id, h.parent_id order by h._next_from, h._recorded_to)), to_jsonb(t)),
        a.company_id, a.location_id, a.department_id
    from {{history}}.finance_agreements_additions h
    left join {{source}}.finance_agreements_additions t on t.id = h.id and t.parent_id = h.parent_id
    left join {{source}}.finance_agreements a on a.id = h.parent_id
    where {{only: 'finance/agreements/additions', h.id, h.parent_id}}
    union all
    select
        'finance/invoices', h.id, 0, h._next_from, h._valid_to, h._recorded_to, to_jsonb(h),
        coalesce(to_jsonb(lead(h) over (partition by h.id order by h._next_from, h._recorded_to)), to_jsonb(t)),
        t.company_id, t.location_id, t.department_id
    from {{history}}.finance_invoices h
    left join {{source}}.finance_invoices t on t.id = h.id
    where {{only: 'finance/invoices', h.id, 0}}
    union all
    select
        'sales/opportunities', h.id, 0, h._next_from, h._valid_to, h._recorded_to, to_jsonb(h),
        coalesce(to_jsonb(lead(h) over (partition by h.id order by h._next_from, h._recorded_to)), to_jsonb(t)),
        t.company_id, t.location_id, t.business_unit_id
    from {{history}}.sales_opportunities h
    left join {{source}}.sales_opportunities t on t.id = h.id
    where {{only: 'sales/opportunities', h.id, 0}}
),
ended as (
    select v.entity, v.id, v.parent_id, a.key as attribute, a.value, v._valid_to, v._next_from, v._recorded_to, v.company_id, v.location_id, v.department_id
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
    hashtextextended(format('%s/%s/%s/%s/%s/%s', e.entity, e.parent_id, e.id, e.attribute, e._next_from, e._recorded_to), 0) as change_id, -- tells the change from others
    e.id as record_id, -- ConnectWise id
    e.parent_id as parent_id, -- id of the parent, of children; 0 of others
    e.company_id as company_id, -- client of the record now, as ConnectWise gave it
    e.location_id as location_id, -- our location now
    e.department_id as department_id, -- our department now
    e._valid_to as valid_to, -- until when, by the record's own stamp
    lag(e._next_from) over (partition by e.entity, e.id, e.parent_id, e.attribute order by e._next_from, e._recorded_to) as valid_from, -- since when; empty: since before it was watched
    e.entity as entity, -- list the record is in, service/tickets for example
    e.attribute as attribute, -- column
    e.value as value, -- what it said, as text
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from ended e
