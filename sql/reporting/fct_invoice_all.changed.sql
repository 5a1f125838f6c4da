-- index: invoice_id
-- index: date
-- index: company_id, month
-- index: agreement_id
-- index: project_id
-- index: changed_at
select id as invoice_id from {{source}}.finance_invoices where _synced_at >= {{since}}
union
-- void, or void no more
select i.id
from {{source}}.finance_billing_statuses s
join {{source}}.finance_invoices i on i.status_id = s.id
where s._synced_at >= {{since}}
