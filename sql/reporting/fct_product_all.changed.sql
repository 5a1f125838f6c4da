-- index: product_line_id
-- index: invoice_date
-- index: company_id, month
-- index: agreement_id
-- index: project_id
-- index: invoice_id
-- index: changed_at
select id as product_line_id from {{source}}.procurement_products where _synced_at >= {{since}}
union
-- the day of an invoice is that of its products
select p.product_line_id
from {{source}}.finance_invoices i
join {{reporting}}.fct_product_all p on p.invoice_id = i.id
where i._synced_at >= {{since}}
