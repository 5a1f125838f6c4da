-- One row per invoice and month at whose end something of it was owed (today in the present month), for the
-- months since balances are watched. Everything is as it was then; an invoice deleted since counts until
-- then, one that is void since it was, too. Sources: finance/invoices and the versions kept with every
-- merge, finance/billingStatuses.
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
-- Everything is as the version said that was valid then.
owed as (
    select
        v.id, k.month, k.last_day, coalesce(v.type = 'CreditMemo', false) as is_credit,
        v.balance, coalesce(v.due_date, v.date) as due_date, v.company_id, v.currency_id, present._synced_at, status._synced_at as status_synced_at
    from months k
    join {{versions}}.finance_invoices v
        on v._valid_from < (k.last_day + 1)::timestamp at time zone {{time_zone}}
       and v._valid_to >= (k.last_day + 1)::timestamp at time zone {{time_zone}}
       and v.date <= k.last_day
       and v.balance <> 0
    left join {{source}}.finance_billing_statuses status on status.id = v.status_id
    join {{source}}.finance_invoices present on present.id = v.id
    where not coalesce(status.name ~* '^void(ed)?\M', false)
)
select
    i.id as invoice_id, -- invoice
    coalesce(company.id, -1) as company_id, -- client then
    coalesce(currency.id, -1) as currency_id, -- currency of the balance
    i.month as month, -- first day of the month
    to_char(i.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    i.is_credit as is_credit, -- a credit memo: its balance is negative here
    case when i.is_credit then -abs(i.balance) else i.balance end as balance, -- owed at the end of the month
    i.last_day - i.due_date as days_overdue, -- since it was due, then; negative: not due yet
    case
        when i.last_day <= i.due_date then 'not due'
        when i.last_day - i.due_date <= 30 then '1-30'
        when i.last_day - i.due_date <= 60 then '31-60'
        when i.last_day - i.due_date <= 90 then '61-90'
        else '91+'
    end as age_bucket, -- days overdue then: not due, 1-30, 31-60, 61-90 or 91+
    greatest(i._synced_at, i.status_synced_at, company._synced_at, currency._synced_at, i.last_day::timestamp at time zone {{time_zone}}) as changed_at -- when any column of this row last changed, by the warehouse's clock
from owed i
left join {{source}}.company_companies company on company.id = i.company_id
left join {{source}}.finance_currencies currency on currency.id = i.currency_id
