-- One row per invoice, for facts that name one: time, expenses, products. Such a fact has no invoice until
-- it is on one, so join it outer. Amounts are in fct_invoice. Source: finance/invoices.
select
    i.id as invoice_id, -- ConnectWise id; -1 is the unknown member
    i.invoice_number as invoice_number, -- number on the paper
    i.type as invoice_type, -- Agreement, CreditMemo, DownPayment, Miscellaneous, Progress or Standard
    coalesce(company.id, -1) as company_id, -- client
    i.date as date, -- day of the invoice
    i.due_date as due_date, -- day it is due
    i._deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    greatest(i._synced_at, company._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_invoices i
left join {{source}}.company_companies company on company.id = i.company_id
union all
select -1, 'Unknown', null, -1, null, null, false, null
