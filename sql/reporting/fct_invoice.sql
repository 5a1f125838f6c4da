-- One row per live invoice. Credit memos have negative amounts, whichever way ConnectWise has them; those
-- of void invoices are 0. Source: fct_invoice_all.
select
    i.invoice_id, -- ConnectWise id
    i.invoice_number, -- number on the paper
    i.invoice_type, -- Agreement, CreditMemo, DownPayment, Miscellaneous, Progress or Standard
    i.is_credit, -- a credit memo: its amounts are negative here
    i.is_void, -- its status is named Void: its amounts are 0 here
    coalesce(company.id, -1) as company_id, -- client
    coalesce(agreement.id, -1) as agreement_id, -- agreement it bills
    coalesce(project.id, -1) as project_id, -- project it bills
    coalesce(status.id, -1) as billing_status_id, -- status
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    i.ticket_id, -- ticket it bills
    i.date, -- day of the invoice
    i.date_id, -- the same, in dim_date
    i.due_date, -- day it is due
    i.subtotal, -- before tax: the revenue
    i.sales_tax, -- tax
    i.total, -- with tax
    i.service_total, -- of it, time
    i.product_total, -- of it, products
    i.expense_total, -- of it, expenses
    i.agreement_amount, -- of it, agreement
    i.payments, -- paid so far
    i.credits, -- credited so far
    i.balance, -- still owed
    case when i.balance <> 0 then (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) end as days_overdue, -- since it was due, today; negative: not due yet; empty: settled
    case
        when i.balance = 0 or i.balance is null then 'settled'
        when (now() at time zone {{time_zone}})::date <= coalesce(i.due_date, i.date) then 'not due'
        when (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) <= 30 then '1-30'
        when (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) <= 60 then '31-60'
        when (now() at time zone {{time_zone}})::date - coalesce(i.due_date, i.date) <= 90 then '61-90'
        else '91+'
    end as age_bucket, -- days overdue today: not due, 1-30, 31-60, 61-90, 91+, or settled
    greatest(i.changed_at, company._synced_at, agreement._synced_at, project._synced_at, status._synced_at, currency._synced_at, location._synced_at, department._synced_at, case when i.balance <> 0 then date_trunc('day', now(), {{time_zone}}) end) as changed_at -- when any column of this row last changed, by the warehouse's clock; daily while something is owed
from {{reporting}}.fct_invoice_all i
left join {{source}}.company_companies company on company.id = i.company_id
left join {{source}}.finance_agreements agreement on agreement.id = i.agreement_id
left join {{source}}.project_projects project on project.id = i.project_id
left join {{source}}.finance_billing_statuses status on status.id = i.billing_status_id
left join {{source}}.finance_currencies currency on currency.id = i.currency_id
left join {{source}}.system_locations location on location.id = i.location_id
left join {{source}}.system_departments department on department.id = i.department_id
