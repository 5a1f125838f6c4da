-- One row per line of an invoice that ConnectWise tells of: a time entry, an expense, a product, or the
-- invoice's agreement amount. Lines need not sum up to the invoice, which may hold lines of its own; those of
-- void invoices are left out.
-- Sources: finance/invoices, time/entries, expense/entries, procurement/products.
select
    i.invoice_id as invoice_id, -- invoice
    'time' as line_type, -- time, expense, product or agreement
    e.time_entry_id as line_id, -- id of the time entry, expense, product line or agreement
    i.company_id as company_id, -- client of the invoice
    i.currency_id as currency_id, -- currency of the invoice
    i.date as date, -- day of the invoice
    i.date_id as date_id, -- the same, in dim_date
    e.hours_invoiced as quantity, -- hours or pieces
    e.revenue as revenue, -- amount
    e.labour_cost as cost, -- cost to us
    greatest(i.changed_at, e.changed_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_time_entry_all e
join {{reporting}}.fct_invoice i on i.invoice_id = e.invoice_id and not i.is_void
where not e.is_deleted
union all
-- numeric as above: of parts whose types differ Postgres works out every column, asked for or not
select i.invoice_id, 'expense', e.expense_id, i.company_id, i.currency_id, i.date, i.date_id, 1::numeric, e.revenue, e.cost, greatest(i.changed_at, e.changed_at)
from {{reporting}}.fct_expense e
join {{reporting}}.fct_invoice i on i.invoice_id = e.invoice_id and not i.is_void
union all
select i.invoice_id, 'product', p.product_line_id, i.company_id, i.currency_id, i.date, i.date_id, p.quantity, p.revenue, p.cost, greatest(i.changed_at, p.changed_at)
from {{reporting}}.fct_product p
join {{reporting}}.fct_invoice i on i.invoice_id = p.invoice_id and not i.is_void
union all
select i.invoice_id, 'agreement', i.agreement_id, i.company_id, i.currency_id, i.date, i.date_id, 1::numeric, i.agreement_amount, 0::numeric, i.changed_at
from {{reporting}}.fct_invoice i
where i.agreement_amount <> 0
