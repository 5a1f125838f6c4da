-- One row per agreement and month at whose end it ran: monthly recurring revenue as of the last day of
-- the month (today in the present month). Agreements that bill once are left out. Amounts are as they were
-- then where the change was seen, else as now. Sources: finance/agreements,
-- finance/agreements/additions, finance/billingCycles and the history of changes.
with months as (
    select
        m::date as month,
        least((m + interval '1 month')::date - 1, (now() at time zone {{time_zone}})::date) as last_day
    from generate_series(
        (select date_trunc('month', min(start_date)) from {{source}}.finance_agreements where _deleted_at is null),
        now() at time zone {{time_zone}}, interval '1 month'
    ) m
),
past as (
    select entity, record_id, parent_id, column_name, value::numeric as value, valid_to
    from cw_sync.history
    where tenant = {{tenant}} and (entity, column_name) in
        (('finance/agreements', 'bill_amount'), ('finance/agreements/additions', 'ext_price'))
),
base as (
    select k.month, a.agreement_id,
        case when was.record_id is null then a.bill_amount else was.value end / coalesce(c.months, 1) as amount
    from months k
    join {{reporting}}.dim_agreement a
        on a.starts_on <= k.last_day
       and (a.ends_on is null or a.ends_on >= k.last_day)
       and (a.cancelled_on is null or a.cancelled_on > k.last_day)
       and not a.is_deleted and not a.is_one_time
    join {{reporting}}.dim_billing_cycle c on c.billing_cycle_id = a.billing_cycle_id and c.is_recurring
    left join lateral (
        select record_id, value from past
        where entity = 'finance/agreements' and record_id = a.agreement_id
          and valid_to > (k.last_day + 1)::timestamp at time zone {{time_zone}}
        order by valid_to limit 1
    ) was on true
),
added as (
    select k.month, x.agreement_id,
        sum(case when was.record_id is null or x.billable_option is distinct from 'Billable' then x.monthly_price
            else was.value / coalesce(x.months_per_bill, 1) end) as amount
    from months k
    join {{reporting}}.fct_addition x
        on coalesce(x.starts_on, k.last_day) <= k.last_day
       and (x.cancelled_on is null or x.cancelled_on > k.last_day)
    left join lateral (
        select record_id, value from past
        where entity = 'finance/agreements/additions' and record_id = x.addition_id and parent_id = x.agreement_id
          and valid_to > (k.last_day + 1)::timestamp at time zone {{time_zone}}
        order by valid_to limit 1
    ) was on true
    group by 1, 2
)
select
    b.agreement_id as agreement_id, -- agreement
    a.company_id as company_id, -- client
    a.currency_id as currency_id, -- currency of the amounts
    b.month as month, -- first day of the month
    to_char(b.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    coalesce(b.amount, 0) as mrr_base, -- the agreement's own amount a month
    coalesce(x.amount, 0) as mrr_additions, -- its billable additions a month
    coalesce(b.amount, 0) + coalesce(x.amount, 0) as mrr -- both
from base b
join {{reporting}}.dim_agreement a on a.agreement_id = b.agreement_id
left join added x on x.agreement_id = b.agreement_id and x.month = b.month
