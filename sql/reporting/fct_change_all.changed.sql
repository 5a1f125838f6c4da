-- index: record_id
-- index: valid_to
-- index: company_id
-- index: changed_at
select 'service/tickets' as entity, id as record_id, 0::bigint as parent_id from {{history}}.service_tickets where _recorded_to >= {{since}}
union
select 'project/tickets', id, 0 from {{history}}.project_tickets where _recorded_to >= {{since}}
union
select 'time/entries', id, 0 from {{history}}.time_entries where _recorded_to >= {{since}}
union
select 'finance/agreements', id, 0 from {{history}}.finance_agreements where _recorded_to >= {{since}}
union
select 'finance/agreements/additions', id, parent_id from {{history}}.finance_agreements_additions where _recorded_to >= {{since}}
union
-- additions are of the client of their agreement
select 'finance/agreements/additions', h.id, h.parent_id
from {{source}}.finance_agreements a
join {{history}}.finance_agreements_additions h on h.parent_id = a.id
where a._synced_at >= {{since}}
union
select 'finance/invoices', id, 0 from {{history}}.finance_invoices where _recorded_to >= {{since}}
union
select 'sales/opportunities', id, 0 from {{history}}.sales_opportunities where _recorded_to >= {{since}}
union
-- records that are back without a new version: somebody had deleted the rows, and a reconcile put them back
select 'service/tickets', t.id, 0 from {{source}}.service_tickets t where t._synced_at >= {{since}} and exists (select from {{history}}.service_tickets h where h.id = t.id)
union
select 'project/tickets', t.id, 0 from {{source}}.project_tickets t where t._synced_at >= {{since}} and exists (select from {{history}}.project_tickets h where h.id = t.id)
union
select 'time/entries', t.id, 0 from {{source}}.time_entries t where t._synced_at >= {{since}} and exists (select from {{history}}.time_entries h where h.id = t.id)
union
select 'finance/agreements', t.id, 0 from {{source}}.finance_agreements t where t._synced_at >= {{since}} and exists (select from {{history}}.finance_agreements h where h.id = t.id)
union
select 'finance/agreements/additions', t.id, t.parent_id from {{source}}.finance_agreements_additions t where t._synced_at >= {{since}} and exists (select from {{history}}.finance_agreements_additions h where h.id = t.id and h.parent_id = t.parent_id)
union
select 'finance/invoices', t.id, 0 from {{source}}.finance_invoices t where t._synced_at >= {{since}} and exists (select from {{history}}.finance_invoices h where h.id = t.id)
union
select 'sales/opportunities', t.id, 0 from {{source}}.sales_opportunities t where t._synced_at >= {{since}} and exists (select from {{history}}.sales_opportunities h where h.id = t.id)
