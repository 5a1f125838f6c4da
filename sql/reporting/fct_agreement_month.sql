-- One row per agreement and calendar month in which it ran, was billed, or had cost. Revenue counts by
-- invoice date, hours by the local day of work, additions day by day while they ran: bases are named in
-- each column. Sources: finance/agreements, finance/agreements/additions, finance/invoices, time/entries,
-- expense/entries, procurement/products.
with agreements as (
    select
        a.agreement_id,
        a.starts_on,
        least(a.ends_on, a.cancelled_on - 1, date_trunc('month', now() at time zone {{time_zone}})::date + interval '1 month' - interval '1 day')::date as ends_on
    from {{reporting}}.dim_agreement a
    where not a.is_deleted and a.agreement_id > 0
),
running as (
    select a.agreement_id, m::date as month
    from agreements a
    cross join generate_series(date_trunc('month', a.starts_on), a.ends_on, interval '1 month') m
),
invoiced as (
    select agreement_id, date_trunc('month', date)::date as month, sum(subtotal) as billed
    from {{reporting}}.fct_invoice
    where agreement_id > 0 and date is not null
    group by 1, 2
),
-- Each addition's days in each month, as a share of the month; what is billed once counts in its first.
additions as (
    select
        x.agreement_id,
        m::date as month,
        sum(case when x.is_recurring then x.monthly_price * s.share when s.is_first then x.price_per_bill else 0 end) as price,
        sum(case when x.is_recurring then x.monthly_cost * s.share when s.is_first then x.cost_per_bill else 0 end) as cost
    from {{reporting}}.fct_addition x
    join agreements a on a.agreement_id = x.agreement_id
    cross join lateral (
        select greatest(x.starts_on, a.starts_on) as first, least(x.cancelled_on - 1, a.ends_on) as last
    ) runs
    cross join lateral generate_series(date_trunc('month', runs.first), runs.last, interval '1 month') m
    cross join lateral (
        select
            m = date_trunc('month', runs.first) as is_first,
            (least(runs.last, (m + interval '1 month')::date - 1) - greatest(runs.first, m::date) + 1)::numeric
            / ((m + interval '1 month')::date - m::date) as share
    ) s
    group by 1, 2
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
    where not is_deleted and agreement_id is not null and work_date is not null
    group by 1, 2
),
spent as (
    select agreement_id, date_trunc('month', date)::date as month, sum(cost) as cost
    from {{reporting}}.fct_expense
    where agreement_id > 0 and date is not null
    group by 1, 2
),
sold as (
    select agreement_id, date_trunc('month', coalesce(invoice_date, purchase_date))::date as month, sum(cost) as cost
    from {{reporting}}.fct_product
    where agreement_id > 0 and coalesce(invoice_date, purchase_date) is not null
    group by 1, 2
),
months as (
    select agreement_id, month from running
    union select agreement_id, month from invoiced
    union select agreement_id, month from worked
    union select agreement_id, month from spent
    union select agreement_id, month from sold
)
select
    k.agreement_id as agreement_id, -- agreement
    d.company_id as company_id, -- client
    d.currency_id as currency_id, -- currency of the agreement
    k.month as month, -- first day of the month
    to_char(k.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    r.month is not null as is_running, -- ran on at least one day of the month
    coalesce(i.billed, 0) as revenue_billed, -- before tax, invoices and credits of the month by invoice date
    coalesce(x.price, 0) as additions_price, -- what its additions are worth that month, by day, billed yet or not; one-time ones in their first month
    coalesce(x.cost, 0) as additions_cost, -- what they cost, by day
    coalesce(w.actual, 0) as hours_actual, -- hours worked
    coalesce(w.billed, 0) as hours_billed, -- hours billed, rounded
    coalesce(w.rounded, 0) as hours_rounded, -- hours as rounded for billing, to the client or to the agreement
    coalesce(w.agreement, 0) as hours_agreement, -- hours the agreement covered
    coalesce(w.cost, 0) as labour_cost, -- cost of hours worked
    coalesce(e.cost, 0) as expense_cost, -- expenses
    coalesce(p.cost, 0) as product_cost -- products, by invoice date, else by day bought
from months k
join {{reporting}}.dim_agreement d on d.agreement_id = k.agreement_id and not d.is_deleted
left join running r on r.agreement_id = k.agreement_id and r.month = k.month
left join invoiced i on i.agreement_id = k.agreement_id and i.month = k.month
left join additions x on x.agreement_id = k.agreement_id and x.month = k.month
left join worked w on w.agreement_id = k.agreement_id and w.month = k.month
left join spent e on e.agreement_id = k.agreement_id and e.month = k.month
left join sold p on p.agreement_id = k.agreement_id and p.month = k.month
