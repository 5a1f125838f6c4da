-- One row per currency: days sales outstanding, today. Balance / (invoiced in the last 90 days / 90),
-- both with tax. Source: fct_invoice.
select
    currency_id, -- currency of the amounts
    sum(balance) as balance, -- owed in all
    coalesce(sum(total) filter (where i.date > today.date - 90 and i.date <= today.date), 0) as invoiced_90_days, -- invoices less credits of the last 90 days
    sum(balance) / nullif(sum(total) filter (where i.date > today.date - 90 and i.date <= today.date) / 90, 0) as dso_days -- days of sales that are still owed
from {{reporting}}.fct_invoice i
cross join (select (now() at time zone {{time_zone}})::date as date) today
group by 1
