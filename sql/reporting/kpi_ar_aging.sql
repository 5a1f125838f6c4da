-- One row per client and currency that owe or are owed: open balances by days overdue today. Credits
-- reduce the bucket they fall into. Source: fct_ar.
select
    company_id, -- client
    currency_id, -- currency of the amounts
    count(*) as invoices, -- open invoices and credits
    sum(balance) as balance, -- owed in all
    coalesce(sum(balance) filter (where age_bucket = 'not due'), 0) as not_due, -- not due yet
    coalesce(sum(balance) filter (where age_bucket = '1-30'), 0) as overdue_1_30, -- 1 to 30 days overdue
    coalesce(sum(balance) filter (where age_bucket = '31-60'), 0) as overdue_31_60, -- 31 to 60 days overdue
    coalesce(sum(balance) filter (where age_bucket = '61-90'), 0) as overdue_61_90, -- 61 to 90 days overdue
    coalesce(sum(balance) filter (where age_bucket = '91+'), 0) as overdue_91, -- 91 days overdue and more
    min(due_date) as oldest_due_date -- longest due
from {{reporting}}.fct_ar
group by 1, 2
