-- One row per invoice and month at whose end something of it was owed (today in the present month), for the
-- months since balances are watched. Balances are as they were then. Sources: finance/invoices and the
-- history of changes.
with watched as (
    select (since at time zone {{time_zone}})::date as date
    from cw_sync.history_column
    where tenant = {{tenant}} and entity = 'finance/invoices' and column_name = 'balance'
),
months as (
    select
        m::date as month,
        least((m + interval '1 month')::date - 1, (now() at time zone {{time_zone}})::date) as last_day
    from watched
    cross join generate_series(date_trunc('month', watched.date), now() at time zone {{time_zone}}, interval '1 month') m
),
past as (
    select record_id, value::numeric as value, valid_to,
        lag(valid_to) over (partition by record_id order by valid_to) as valid_from
    from cw_sync.history
    where tenant = {{tenant}} and entity = 'finance/invoices' and column_name = 'balance'
),
-- Each balance and the moments between which it held; the present one holds on.
held as (
    select record_id, value, valid_from, valid_to from past
    union all
    select i.id, i.balance, p.valid_to, null
    from {{source}}.finance_invoices i
    left join (select record_id, max(valid_to) as valid_to from past group by 1) p on p.record_id = i.id
    where i.balance <> 0
)
select
    i.invoice_id as invoice_id, -- invoice
    i.company_id as company_id, -- client
    i.currency_id as currency_id, -- currency of the balance
    k.month as month, -- first day of the month
    to_char(k.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    i.is_credit as is_credit, -- a credit memo: its balance is negative here
    case when i.is_credit then -abs(h.value) else h.value end as balance, -- owed at the end of the month
    k.last_day - coalesce(i.due_date, i.date) as days_overdue, -- since it was due, then; negative: not due yet
    case
        when k.last_day <= coalesce(i.due_date, i.date) then 'not due'
        when k.last_day - coalesce(i.due_date, i.date) <= 30 then '1-30'
        when k.last_day - coalesce(i.due_date, i.date) <= 60 then '31-60'
        when k.last_day - coalesce(i.due_date, i.date) <= 90 then '61-90'
        else '91+'
    end as age_bucket -- days overdue then: not due, 1-30, 31-60, 61-90 or 91+
from months k
join held h
    on (h.valid_from is null or h.valid_from < (k.last_day + 1)::timestamp at time zone {{time_zone}})
   and (h.valid_to is null or h.valid_to >= (k.last_day + 1)::timestamp at time zone {{time_zone}})
join {{reporting}}.fct_invoice i on i.invoice_id = h.record_id and i.date <= k.last_day
where h.value <> 0
