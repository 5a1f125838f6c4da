-- One row per live invoice. Credit memos have negative amounts, whichever way ConnectWise has them; those
-- of void invoices are 0. Sources: finance/invoices, finance/billingStatuses.
select
    i.id as invoice_id, -- ConnectWise id
    i.invoice_number as invoice_number, -- number on the paper
    i.type as invoice_type, -- Agreement, CreditMemo, DownPayment, Miscellaneous, Progress or Standard
    coalesce(i.type = 'CreditMemo', false) as is_credit, -- a credit memo: its amounts are negative here
    signed.whole = 0 as is_void, -- its status is named Void: its amounts are 0 here
    coalesce(company.id, -1) as company_id, -- client
    coalesce(agreement.id, -1) as agreement_id, -- agreement it bills
    coalesce(project.id, -1) as project_id, -- project it bills
    coalesce(status.id, -1) as billing_status_id, -- status
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    i.ticket_id as ticket_id, -- ticket it bills
    i.date as date, -- day of the invoice
    coalesce(to_char(i.date, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    i.due_date as due_date, -- day it is due
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
    case when signed.whole * i.balance <> 0 then (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) end as days_overdue, -- since it was due, today; negative: not due yet; empty: settled
    case
        when signed.whole * i.balance = 0 or i.balance is null then 'settled'
        when (now() at time zone {{time_zone}})::date <= coalesce(i.due_date, i.date) then 'not due'
        when (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) <= 30 then '1-30'
        when (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) <= 60 then '31-60'
        when (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) <= 90 then '61-90'
        else '91+'
    end as age_bucket, -- days overdue today: not due, 1-30, 31-60, 61-90, 91+, or settled
    greatest(i._synced_at, company._synced_at, agreement._synced_at, project._synced_at, status._synced_at, currency._synced_at, location._synced_at, department._synced_at, case when signed.whole * i.balance <> 0 then date_trunc('day', now(), {{time_zone}}) end) as changed_at -- when any column of this row last changed, by the warehouse's clock; daily while something is owed
from {{source}}.finance_invoices i
left join {{source}}.company_companies company on company.id = i.company_id
left join {{source}}.finance_agreements agreement
    on agreement.id = coalesce(i.agreement_id, case when i.apply_to_type = 'Agreement' then i.apply_to_id end)
left join {{source}}.project_projects project
    on project.id = coalesce(i.project_id, case when i.apply_to_type = 'Project' then i.apply_to_id end)
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
left join {{source}}.finance_currencies currency on currency.id = i.currency_id
left join {{source}}.system_locations location on location.id = i.location_id
left join {{source}}.system_departments department on department.id = i.department_id
where i._deleted_at is null
