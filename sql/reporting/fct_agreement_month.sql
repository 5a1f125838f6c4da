-- One row per agreement and calendar month in which it ran, was billed, or had cost, and one more for each
-- other currency that it was invoiced in. Revenue counts by
-- invoice date, hours by the local day of work, additions day by day while they ran: bases are named in
-- each column. Client, currency, the days it ran and its additions are those that were known when the month
-- was closed (now, in a month that is not): later edits do not move them; what is deleted ran until then.
-- Invoices, hours and expenses carry a date of their own, and count as they are now. Sources:
-- finance/agreements, finance/agreements/additions and the versions kept of them, fct_invoice_all,
-- fct_time_entry_all, fct_expense, fct_product_all.
with tracked as (
    -- what was said before that is not known: the versions of that day are taken
    select coalesce(max(since), '-infinity') as since
    from cw_sync.history_column
    where tenant = {{tenant}} and entity in ('finance/agreements', 'finance/agreements/additions')
      and column_name in ('company_id', 'currency_id', 'billing_cycle_id', 'ext_price', 'bill_customer')
),
months as (
    select
        g.m::date as month,
        (g.m + interval '1 month')::date - 1 as last_day,
        greatest((g.m + interval '1 month' + {{month_closes_on}} * interval '1 day') at time zone {{time_zone}}, tracked.since) as known_at
    from generate_series(
        (select date_trunc('month', min(start_date))::timestamp from {{source}}.finance_agreements),
        now() at time zone {{time_zone}}, interval '1 month'
    ) g (m)
    cross join tracked
),
agreements as materialized (
    select distinct on (k.month, v.id)
        k.month, k.last_day, v.id as agreement_id, v.company_id, coalesce(currency.id, -1) as currency_id, v.billing_cycle_id,
        coalesce(v.one_time_flag, false) or coalesce(v.bill_one_time_flag, false) as is_one_time,
        v.start_date as starts_on,
        least(
            k.last_day,
            case when not coalesce(v.no_ending_date_flag, false) then v.end_date end,
            case when v.cancelled_flag then coalesce(v.date_cancelled, (v.last_updated at time zone {{time_zone}})::date) - 1 end,
            case when v._valid_to < k.known_at then (v._valid_to at time zone {{time_zone}})::date end
        ) as ends_on
    from months k
    join {{versions}}.finance_agreements v on v._valid_from < k.known_at and {{only: v.id}}
    left join {{source}}.finance_currencies currency on currency.id = v.currency_id
    order by k.month, v.id, v._valid_from desc, v._valid_to desc
),
running as (
    select agreement_id, month from agreements where starts_on <= last_day and ends_on >= greatest(starts_on, month)
),
-- Each addition's days in each month, as a share of the month; what is billed once counts in its first.
additions_then as (
    select distinct on (k.month, v.parent_id, v.id)
        k.month, v.parent_id as agreement_id,
        case when v.bill_customer = 'Billable'
            then coalesce(v.ext_price, (v.quantity - coalesce(v.less_included, 0)) * v.unit_price, 0) else 0 end as price,
        coalesce(v.ext_cost, v.quantity * v.unit_cost, 0) as cost,
        v.effective_date as starts_on,
        least(v.cancelled_date - 1, case when v._valid_to < k.known_at then (v._valid_to at time zone {{time_zone}})::date end) as ends_on
    from months k
    join {{versions}}.finance_agreements_additions v on v._valid_from < k.known_at and {{only: v.parent_id}}
    order by k.month, v.parent_id, v.id, v._valid_from desc, v._valid_to desc
),
additions as (
    select
        a.agreement_id,
        a.month,
        -- rounded: a piece of a credit and of what it takes back differ in their last digit
        round(sum(case when r.is_recurring then x.price / coalesce(c.months, 1) * r.share when r.is_first then x.price else 0 end), 8) as price,
        round(sum(case when r.is_recurring then x.cost / coalesce(c.months, 1) * r.share when r.is_first then x.cost else 0 end), 8) as cost
    from additions_then x
    join agreements a on a.agreement_id = x.agreement_id and a.month = x.month
    left join {{reporting}}.dim_billing_cycle c on c.billing_cycle_id = a.billing_cycle_id
    cross join lateral (
        select greatest(x.starts_on, a.starts_on) as first, least(x.ends_on, a.ends_on) as last
    ) runs
    cross join lateral (
        select
            coalesce(c.is_recurring, true) and not a.is_one_time as is_recurring,
            date_trunc('month', runs.first)::date = a.month as is_first,
            (runs.last - greatest(runs.first, a.month) + 1)::numeric / (a.last_day - a.month + 1) as share
    ) r
    where runs.last >= greatest(runs.first, a.month)
    group by 1, 2
),
invoiced as (
    select
        i.agreement_id, i.month, coalesce(c.id, -1) as currency_id, sum(i.subtotal) as billed,
        count(c.id) over (partition by i.agreement_id, i.month) > 1 as has_others
    from {{reporting}}.fct_invoice_all i
    left join {{source}}.finance_currencies c on c.id = i.currency_id and not i.is_void
    where i.agreement_id is not null and i.month is not null and {{only by index: i.agreement_id}}
    group by i.agreement_id, i.month, c.id
),
-- In the agreement's own currency (other_currency is null), or in another one. Where the agreement names none,
-- it is in that of its invoices, if it is one. What is void is in none.
billed as (
    select i.agreement_id, i.month, o.other_currency, sum(i.billed) as billed
    from invoiced i
    join {{reporting}}.dim_agreement d on d.agreement_id = i.agreement_id
    left join agreements a on a.agreement_id = i.agreement_id and a.month = i.month
    cross join lateral (select coalesce(a.currency_id, d.currency_id)) own (currency_id)
    cross join lateral (
        select case when i.currency_id not in (-1, own.currency_id) and (own.currency_id > 0 or i.has_others) then i.currency_id end
    ) o (other_currency)
    group by 1, 2, 3
),
worked as (
    select
        agreement_id,
        date_trunc('month', work_date::timestamp)::date as month,
        sum(hours_actual) as actual,
        sum(hours_billed) as billed,
        sum(hours_rounded) as rounded,
        sum(hours_agreement) as agreement,
        sum(labour_cost) as cost
    from {{reporting}}.fct_time_entry_all
    where not is_deleted and agreement_id is not null and work_date is not null and {{only by index: agreement_id}}
    group by 1, 2
),
spent as (
    select agreement_id, date_trunc('month', date)::date as month, sum(cost) as cost
    from {{reporting}}.fct_expense
    where agreement_id > 0 and date is not null and {{only: agreement_id}}
    group by 1, 2
),
sold as (
    select agreement_id, month, sum(cost) as cost
    from {{reporting}}.fct_product_all
    where agreement_id is not null and month is not null and {{only by index: agreement_id}}
    group by 1, 2
),
shown as (
    select agreement_id, month, null::bigint as other_currency from running
    union select agreement_id, month, other_currency from billed
    union select agreement_id, month, null from worked
    union select agreement_id, month, null from spent
    union select agreement_id, month, null from sold
)
select
    k.agreement_id as agreement_id, -- agreement
    case when a.agreement_id is null then d.company_id else coalesce(company.id, -1) end as company_id, -- client then
    coalesce(k.other_currency, a.currency_id, d.currency_id) as currency_id, -- currency of the agreement then, or another one that it was invoiced in
    k.month as month, -- first day of the month
    to_char(k.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    r.month is not null as is_running, -- ran on at least one day of the month; not in a row of another currency, so that it counts once
    coalesce(i.billed, 0) as revenue_billed, -- before tax, invoices and credits of the month by invoice date
    coalesce(x.price, 0) as additions_price, -- what its additions are worth that month, by day, billed yet or not; one-time ones in their first month
    coalesce(x.cost, 0) as additions_cost, -- what they cost, by day
    coalesce(w.actual, 0) as hours_actual, -- hours worked
    coalesce(w.billed, 0) as hours_billed, -- hours billed, rounded
    coalesce(w.rounded, 0) as hours_rounded, -- hours as rounded for billing, to the client or to the agreement
    coalesce(w.agreement, 0) as hours_agreement, -- hours the agreement covered
    coalesce(w.cost, 0) as labour_cost, -- cost of hours worked
    coalesce(e.cost, 0) as expense_cost, -- expenses
    coalesce(p.cost, 0) as product_cost, -- products, by invoice date, else by day bought
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from shown k
join {{reporting}}.dim_agreement d on d.agreement_id = k.agreement_id
left join agreements a on a.agreement_id = k.agreement_id and a.month = k.month
left join {{source}}.company_companies company on company.id = a.company_id
left join running r on r.agreement_id = k.agreement_id and r.month = k.month and k.other_currency is null
left join billed i on i.agreement_id = k.agreement_id and i.month = k.month and i.other_currency is not distinct from k.other_currency
left join additions x on x.agreement_id = k.agreement_id and x.month = k.month and k.other_currency is null
left join worked w on w.agreement_id = k.agreement_id and w.month = k.month and k.other_currency is null
left join spent e on e.agreement_id = k.agreement_id and e.month = k.month and k.other_currency is null
left join sold p on p.agreement_id = k.agreement_id and p.month = k.month and k.other_currency is null
