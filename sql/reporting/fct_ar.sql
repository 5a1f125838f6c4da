-- One row per invoice that is not settled, as of now, credits not yet used included (negative).
-- Source: finance/invoices.
select
    invoice_id, -- invoice
    invoice_number, -- number on the paper
    company_id, -- client
    currency_id, -- currency of the balance
    billing_status_id, -- status
    is_credit, -- a credit memo
    date, -- day of the invoice
    due_date, -- day it is due
    total, -- with tax
    balance, -- still owed; negative: we owe
    days_overdue, -- since it was due, today; negative: not due yet
    age_bucket, -- not due, 1-30, 31-60, 61-90 or 91+ days overdue
    changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_invoice
where balance <> 0
