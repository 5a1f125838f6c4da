-- One row per client, currency, kind and age: billable work that is on no invoice, was not written off and that no
-- agreement covers (work in progress). Ages by the day of work, expense or purchase. Sources: fct_time_entry_all,
-- fct_expense, fct_product.
with work as (
    select coalesce(c.id, -1) as company_id, coalesce(c.currency_id, -1) as currency_id, 'time' as kind, e.work_date as date, e.hours_actual as hours, e.revenue
    from {{reporting}}.fct_time_entry_all e
    left join {{source}}.company_companies c on c.id = e.company_id
    where e.is_unbilled and not e.is_deleted
    union all
    select e.company_id, case when e.currency_id > 0 then e.currency_id else coalesce(c.currency_id, -1) end, 'expense', e.date, 0, e.revenue
    from {{reporting}}.fct_expense e
    left join {{source}}.company_companies c on c.id = e.company_id
    where e.is_unbilled
    union all
    select p.company_id, coalesce(c.currency_id, -1), 'product', p.purchase_date, 0, p.revenue
    from {{reporting}}.fct_product p
    left join {{source}}.company_companies c on c.id = p.company_id
    where p.is_billable and not p.is_invoiced
)
select
    company_id, -- client
    currency_id, -- currency of the expense, else of the client
    kind, -- time, expense or product
    case
        when (now() at time zone {{time_zone}})::date - date <= 30 then '0-30'
        when (now() at time zone {{time_zone}})::date - date <= 60 then '31-60'
        when (now() at time zone {{time_zone}})::date - date <= 90 then '61-90'
        else '91+'
    end as age_bucket, -- days since: 0-30, 31-60, 61-90 or 91+, also without a date
    count(*) as items, -- time entries, expenses or product lines
    sum(hours) as hours_actual, -- hours worked
    sum(revenue) as revenue -- what they would bring
from work
group by 1, 2, 3, 4
