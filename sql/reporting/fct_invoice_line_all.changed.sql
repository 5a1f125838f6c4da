-- index: invoice_id
-- index: date
-- index: company_id
select id as invoice_id from {{source}}.finance_invoices where _synced_at >= {{since}}
union
-- void, or void no more
select invoice_id from {{reporting}}.fct_invoice_all where changed_at > {{since}}
union
select invoice_id from {{reporting}}.fct_time_entry_all where changed_at > {{since}} and invoice_id is not null
union
-- the invoice that a line was taken from
select invoice_id from {{history}}.time_entries where _recorded_to >= {{since}} and invoice_id is not null
union
select invoice_id from {{source}}.expense_entries where _synced_at >= {{since}} and invoice_id is not null
union
select invoice_id from {{history}}.expense_entries where _recorded_to >= {{since}} and invoice_id is not null
union
select invoice_id from {{source}}.procurement_products where _synced_at >= {{since}} and invoice_id is not null
union
select invoice_id from {{history}}.procurement_products where _recorded_to >= {{since}} and invoice_id is not null
