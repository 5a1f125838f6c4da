-- One row per line of an invoice that ConnectWise tells of: a time entry, an expense, a product, or the
-- invoice's agreement amount. Lines need not sum up to the invoice, which may hold lines of its own; those of
-- void invoices are left out. Source: fct_invoice_line_all.
select
    l.invoice_id, -- invoice
    l.line_type, -- time, expense, product or agreement
    case when l.line_type = 'agreement' then coalesce(agreement.id, -1) else l.line_id end as line_id, -- id of the time entry, expense, product line or agreement
    coalesce(company.id, -1) as company_id, -- client of the invoice
    coalesce(currency.id, -1) as currency_id, -- currency of the invoice
    l.date, -- day of the invoice
    l.date_id, -- the same, in dim_date
    l.quantity, -- hours or pieces
    l.revenue, -- amount
    l.cost, -- cost to us
    greatest(l.changed_at, company._synced_at, currency._synced_at, agreement._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_invoice_line_all l
left join {{source}}.company_companies company on company.id = l.company_id
left join {{source}}.finance_currencies currency on currency.id = l.currency_id
left join {{source}}.finance_agreements agreement on l.line_type = 'agreement' and agreement.id = l.line_id
