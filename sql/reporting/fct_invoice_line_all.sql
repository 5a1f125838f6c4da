-- One row per line of an invoice that ConnectWise tells of, ids as ConnectWise gave them; those of void
-- invoices are left out. fct_invoice_line is what reports should read. Sources: fct_invoice_all,
-- fct_time_entry_all, fct_product_all, fct_expense.
with lines as (
    select e.invoice_id, 'time' as line_type, e.time_entry_id as line_id, e.hours_invoiced as quantity, e.revenue, e.labour_cost as cost
    from {{reporting}}.fct_time_entry_all e
    where e.invoice_id is not null and not e.is_deleted and {{only by index: e.invoice_id}}
    union all
    select e.invoice_id, 'expense', e.expense_id, 1, e.revenue, e.cost
    from {{reporting}}.fct_expense e
    where e.invoice_id is not null and {{only: e.invoice_id}}
    union all
    select p.invoice_id, 'product', p.product_line_id, p.quantity, p.revenue, p.cost
    from {{reporting}}.fct_product_all p
    where p.invoice_id is not null and {{only by index: p.invoice_id}}
    union all
    select i.invoice_id, 'agreement', i.agreement_id, 1, i.agreement_amount, 0
    from {{reporting}}.fct_invoice_all i
    where i.agreement_amount <> 0 and {{only by index: i.invoice_id}}
)
select
    l.invoice_id as invoice_id, -- invoice
    i.date as date, -- day of the invoice
    i.date_id as date_id, -- the same, in dim_date
    i.company_id as company_id, -- client of the invoice
    i.currency_id as currency_id, -- currency of the invoice
    l.line_id as line_id, -- id of the time entry, expense, product line or agreement
    l.line_type as line_type, -- time, expense, product or agreement
    l.quantity as quantity, -- hours or pieces
    l.revenue as revenue, -- amount
    l.cost as cost, -- cost to us
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from lines l
join {{reporting}}.fct_invoice_all i on i.invoice_id = l.invoice_id and not i.is_void
