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
