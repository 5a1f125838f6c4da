-- One row per agreement, client, currency and month at whose end the agreement ran: monthly recurring
-- revenue as of the last day of the month (today in the present month). Agreements that bill once are left
-- out. mrr is as recorded: amounts, cycle, client and currency are those that were valid when the month
-- ended; new records, and days of beginning and end, count if they came in before the month was closed. Once
-- it is closed, later edits do not move it. mrr_restated is what today's records say about that month. Where
-- client or currency were others then, the two are in rows of their own. Sources: finance/agreements,
-- finance/agreements/additions, finance/billingCycles and the versions kept of them with every merge.
with tracked as (
    -- what was said before that is not known: the first versions seen are taken
    select coalesce(max(since), '-infinity') as since
    from cw_sync.history_column
    where tenant = {{tenant}} and entity in ('finance/agreements', 'finance/agreements/additions')
      and column_name in ('company_id', 'currency_id', 'billing_cycle_id', 'bill_amount', 'ext_price', 'bill_customer')
),
months as (
    select
        g.m::date as month,
        least((g.m + interval '1 month')::date - 1, (now() at time zone {{time_zone}})::date) as last_day,
        tracked.since,
        e.ends_at,
        e.closes_at,
        greatest(e.ends_at, tracked.since) as known_at,
        greatest(e.closes_at, tracked.since) as dated_at
    from generate_series(
        (select date_trunc('month', min(start_date))::timestamp from {{source}}.finance_agreements),
        now() at time zone {{time_zone}}, interval '1 month'
    ) g (m)
    cross join tracked
    cross join lateral (
        select
            (g.m + interval '1 month') at time zone {{time_zone}} as ends_at,
            (g.m + interval '1 month' + {{month_closes_on}} * interval '1 day') at time zone {{time_zone}} as closes_at
    ) e
),
agreements as materialized (
    select
        v.id, v.company_id, coalesce(currency.id, -1) as currency_id, v.billing_cycle_id, v.bill_amount,
        v.start_date as starts_on,
        case when coalesce(v.no_ending_date_flag, false) then null else v.end_date end as ends_on,
        case when coalesce(v.cancelled_flag, false) then coalesce(v.date_cancelled, (v.last_updated at time zone {{time_zone}})::date) end as cancelled_on,
        coalesce(v.one_time_flag, false) or coalesce(v.bill_one_time_flag, false) as is_one_time,
        v._valid_from, v._valid_to, min(v._valid_from) over (partition by v.id) as born_at
    from {{versions}}.finance_agreements v
    left join {{source}}.finance_currencies currency on currency.id = v.currency_id
    where {{only: v.id}}
),
additions as materialized (
    select
        v.parent_id, v.id,
        case when v.bill_customer = 'Billable'
            then coalesce(v.ext_price, (v.quantity - coalesce(v.less_included, 0)) * v.unit_price, 0) else 0 end as price,
        v.effective_date as starts_on, v.cancelled_date as cancelled_on,
        v._valid_from, v._valid_to, min(v._valid_from) over (partition by v.parent_id, v.id) as born_at
    from {{versions}}.finance_agreements_additions v
    where {{only: v.parent_id}}
),
cycles as materialized (
    select
        v.id,
        case v.billing_options
            when 'Weekly' then 12 / 52.0
            when 'BiWeekly' then 24 / 52.0
            when 'Monthly' then 1
            when 'BiMonthly' then 2
            when 'Quarterly' then 3
            when 'SemiAnnual' then 6
            when 'Yearly' then 12
        end as months,
        v.billing_options is distinct from 'NotRecurring' as is_recurring,
        v._valid_from, v._valid_to
    from {{versions}}.finance_billing_cycles v
),
cycle_then as (
    select distinct on (k.month, c.id) k.month, c.id, c.months, c.is_recurring
    from months k
    join cycles c on c._valid_to >= k.ends_at and c._valid_from < k.known_at
    order by k.month, c.id, c._valid_from
),
-- The version at the end of each month, and the one when it was closed: what came in meanwhile, with its days.
agreement_then as (
    select distinct on (k.month, a.id) k.month, a.*
    from months k
    join agreements a on a._valid_to >= k.ends_at and a._valid_from < k.known_at
    order by k.month, a.id, a._valid_from
),
agreement_closing as (
    select k.month, a.*, a.born_at >= k.known_at as is_late
    from months k
    join agreements a on a._valid_to >= k.dated_at and a._valid_from < k.dated_at
),
agreement_recorded as (
    select
        k.month, k.last_day,
        coalesce(a.id, c.id) as id,
        case when a.id is null then c.company_id else a.company_id end as company_id,
        case when a.id is null then c.currency_id else a.currency_id end as currency_id,
        case when a.id is null then c.billing_cycle_id else a.billing_cycle_id end as billing_cycle_id,
        case when a.id is null then c.bill_amount else a.bill_amount end as bill_amount,
        case when a.id is null then c.is_one_time else a.is_one_time end as is_one_time,
        case when c.id is null then a.starts_on else c.starts_on end as starts_on,
        case when c.id is null then a.ends_on else c.ends_on end as ends_on,
        case when c.id is null then a.cancelled_on else c.cancelled_on end as cancelled_on
    from agreement_then a
    full join agreement_closing c on c.month = a.month and c.id = a.id
    join months k on k.month = coalesce(a.month, c.month)
    where a.id is not null or c.is_late
),
base as (
    select
        a.month, a.last_day, a.id,
        coalesce(company.id, -1) as company_id,
        a.currency_id,
        coalesce(cycle.id, -1) as billing_cycle_id,
        coalesce(c.months, 1) as months,
        round(a.bill_amount / coalesce(c.months, 1), 8) as amount
    from agreement_recorded a
    left join cycle_then c on c.month = a.month and c.id = a.billing_cycle_id
    left join {{source}}.finance_billing_cycles cycle on cycle.id = a.billing_cycle_id
    left join {{source}}.company_companies company on company.id = a.company_id
    where not a.is_one_time
      and coalesce(c.is_recurring, true)
      and a.starts_on <= a.last_day
      and (a.ends_on is null or a.ends_on >= a.last_day)
      and (a.cancelled_on is null or a.cancelled_on > a.last_day)
),
addition_then as (
    select distinct on (k.month, x.parent_id, x.id) k.month, x.*
    from months k
    join additions x on x._valid_to >= k.ends_at and x._valid_from < k.known_at
    order by k.month, x.parent_id, x.id, x._valid_from
),
addition_closing as (
    select k.month, x.*, x.born_at >= k.known_at as is_late
    from months k
    join additions x on x._valid_to >= k.dated_at and x._valid_from < k.dated_at
),
addition_recorded as (
    select
        coalesce(x.month, c.month) as month,
        coalesce(x.parent_id, c.parent_id) as agreement_id,
        case when x.id is null then c.price else x.price end as price,
        case when c.id is null then x.starts_on else c.starts_on end as starts_on,
        case when c.id is null then x.cancelled_on else c.cancelled_on end as cancelled_on
    from addition_then x
    full join addition_closing c on c.month = x.month and c.parent_id = x.parent_id and c.id = x.id
    where x.id is not null or c.is_late
),
added as (
    select b.month, b.id, round(sum(x.price / b.months), 8) as amount
    from base b
    join addition_recorded x on x.month = b.month and x.agreement_id = b.id
    where coalesce(x.starts_on, b.last_day) <= b.last_day
      and (x.cancelled_on is null or x.cancelled_on > b.last_day)
    group by 1, 2
),
recorded as (
    select b.month, b.id, b.company_id, b.currency_id, b.billing_cycle_id, coalesce(b.amount, 0) as base, coalesce(x.amount, 0) as additions
    from base b
    left join added x using (month, id)
),
-- The same of the records as they are now.
base_now as (
    select k.month, k.last_day, a.agreement_id as id, a.company_id, a.currency_id,
        round(a.bill_amount / coalesce(c.months, 1), 8) as amount
    from months k
    join {{reporting}}.dim_agreement a
        on a.starts_on <= k.last_day
       and (a.ends_on is null or a.ends_on >= k.last_day)
       and (a.cancelled_on is null or a.cancelled_on > k.last_day)
       and not a.is_deleted and not a.is_one_time and {{only: a.agreement_id}}
    join {{reporting}}.dim_billing_cycle c on c.billing_cycle_id = a.billing_cycle_id and c.is_recurring
),
added_now as (
    select k.month, x.agreement_id as id, round(sum(x.monthly_price), 8) as amount
    from months k
    join {{reporting}}.fct_addition x
        on coalesce(x.starts_on, k.last_day) <= k.last_day
       and (x.cancelled_on is null or x.cancelled_on > k.last_day)
    where {{only: x.agreement_id}}
    group by 1, 2
),
restated as (
    select b.month, b.id, b.company_id, b.currency_id, coalesce(b.amount, 0) + coalesce(x.amount, 0) as mrr
    from base_now b
    left join added_now x using (month, id)
)
select
    id as agreement_id, -- agreement
    company_id as company_id, -- client
    currency_id as currency_id, -- currency of the amounts
    coalesce(r.billing_cycle_id, -1) as billing_cycle_id, -- how often it billed then
    month as month, -- first day of the month
    to_char(month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    coalesce(r.base, 0) as mrr_base, -- the agreement's own amount a month, as recorded
    coalesce(r.additions, 0) as mrr_additions, -- its billable additions a month, as recorded
    coalesce(r.base + r.additions, 0) as mrr, -- both, as recorded
    coalesce(n.mrr, 0) as mrr_restated, -- both, as today's records say
    case when k.ends_at > k.since then 'as recorded' else 'as restated' end as basis, -- of mrr: as recorded; or as restated, for months before versions were kept, by the first versions seen
    k.closes_at <= now() as is_closed, -- the month is closed: mrr stays as it is
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from recorded r
full join restated n using (month, id, company_id, currency_id)
join months k using (month)
