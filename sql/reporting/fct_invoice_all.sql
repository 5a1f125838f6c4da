-- One row per live invoice, ids as ConnectWise gave them. fct_invoice is what reports should read. Credit
-- memos have negative amounts, whichever way ConnectWise has them; those of void invoices are 0. Sources:
-- finance/invoices, finance/billingStatuses.
select
    i.id as invoice_id, -- ConnectWise id
    i.company_id as company_id, -- client
    i.date as date, -- day of the invoice
    coalesce(to_char(i.date, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    date_trunc('month', i.date::timestamp)::date as month, -- first day of its month
    i.due_date as due_date, -- day it is due
    coalesce(i.type = 'CreditMemo', false) as is_credit, -- a credit memo: its amounts are negative here
    signed.whole = 0 as is_void, -- its status is named Void: its amounts are 0 here
    coalesce(i.agreement_id, case when i.apply_to_type = 'Agreement' then i.apply_to_id end) as agreement_id, -- agreement it bills
    coalesce(i.project_id, case when i.apply_to_type = 'Project' then i.apply_to_id end) as project_id, -- project it bills
    i.status_id as billing_status_id, -- status
    i.currency_id as currency_id, -- currency of the amounts
    i.location_id as location_id, -- our location
    i.department_id as department_id, -- our department
    i.ticket_id as ticket_id, -- ticket it bills
    i.invoice_number as invoice_number, -- number on the paper
    i.type as invoice_type, -- Agreement, CreditMemo, DownPayment, Miscellaneous, Progress or Standard
    signed.whole * case when signed.is_credit then -abs(i.subtotal) else i.subtotal end as subtotal, -- before tax: the revenue
    signed.whole * case when signed.is_credit then -abs(i.sales_tax) else i.sales_tax end as sales_tax, -- tax
    signed.whole * case when signed.is_credit then -abs(i.total) else i.total end as total, -- with tax
    signed.whole * signed.parts * i.service_total as service_total, -- of it, time
    signed.whole * signed.parts * i.product_total as product_total, -- of it, products
    signed.whole * signed.parts * i.expense_total as expense_total, -- of it, expenses
    signed.whole * signed.parts * i.agreement_amount as agreement_amount, -- of it, agreement
    signed.whole * i.payments as payments, -- paid so far
    signed.whole * i.credits as credits, -- credited so far
    signed.whole * case when signed.is_credit then -abs(i.balance) else i.balance end as balance, -- still owed
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_invoices i
left join {{source}}.finance_billing_statuses status on status.id = i.status_id
-- ConnectWise has credit memos negative or positive, by version, and their balance not always like their
-- total. Their parts may be of either sign: they are turned as one, by their sum.
cross join lateral (
    select
        coalesce(i.type = 'CreditMemo', false) as is_credit,
        case when status.name ~* '^void(ed)?\M' then 0 else 1 end as whole,
        case when i.type = 'CreditMemo'
            and coalesce(i.service_total, 0) + coalesce(i.product_total, 0) + coalesce(i.expense_total, 0) + coalesce(i.agreement_amount, 0) > 0
            then -1 else 1 end as parts
) signed
where i._deleted_at is null and {{only: i.id}}
