-- One row per client, currency and calendar month: all revenue less all cost. Revenue by invoice date;
-- hours by local day of work; expenses by date; products by invoice date, else by day bought; additions
-- by day. Cost counts in its own currency: that of the expense, of the agreement of an addition or product;
-- what has none, as hours, in the client's. Sources: fct_invoice_all,
-- fct_time_entry_all, fct_expense, fct_product_all, fct_agreement_month, company/companies.
with worked as (
    -- work of clients that are listed, and all other work
    select c.id as company_id, c.currency_id, e.work_month as month, e.labour_cost, e.hours_actual
    from {{reporting}}.fct_time_entry_all e
    join {{source}}.company_companies c on c.id = e.company_id
    where not e.is_deleted and e.charge_code_id is null and {{only: e.company_id, e.work_month}}
    union all
    select -1, null, e.work_month, e.labour_cost, e.hours_actual
    from {{reporting}}.fct_time_entry_all e
    where not e.is_deleted and e.charge_code_id is null and {{only: -1, e.work_month}}
      and not exists (select from {{source}}.company_companies c where c.id = e.company_id)
),
invoiced as (
    select c.id as company_id, i.currency_id, i.month, i.subtotal
    from {{reporting}}.fct_invoice_all i
    join {{source}}.company_companies c on c.id = i.company_id
    where {{only: i.company_id, i.month}}
    union all
    select -1, i.currency_id, i.month, i.subtotal
    from {{reporting}}.fct_invoice_all i
    where {{only: -1, i.month}} and not exists (select from {{source}}.company_companies c where c.id = i.company_id)
),
sold as (
    select c.id as company_id, c.currency_id, p.agreement_id, p.month, p.cost
    from {{reporting}}.fct_product_all p
    join {{source}}.company_companies c on c.id = p.company_id
    where {{only: p.company_id, p.month}}
    union all
    select -1, null, p.agreement_id, p.month, p.cost
    from {{reporting}}.fct_product_all p
    where {{only: -1, p.month}} and not exists (select from {{source}}.company_companies c where c.id = p.company_id)
),
parts as (
    select i.company_id, i.currency_id, i.month, sum(i.subtotal) as revenue,
        0::numeric as labour, 0::numeric as expenses, 0::numeric as products, 0::numeric as additions, 0::numeric as hours
    from invoiced i
    where i.month is not null
    group by 1, 2, 3
    union all
    select company_id, currency_id, month, 0, sum(labour_cost), 0, 0, 0, sum(hours_actual)
    from worked where month is not null
    group by 1, 2, 3
    union all
    select e.company_id, coalesce(nullif(e.currency_id, -1), c.currency_id), date_trunc('month', e.date::timestamp)::date, 0, 0, sum(e.cost), 0, 0, 0
    from {{reporting}}.fct_expense e
    left join {{source}}.company_companies c on c.id = e.company_id
    where e.date is not null and {{only: e.company_id, date_trunc('month', e.date::timestamp)::date}}
    group by 1, 2, 3
    union all
    select s.company_id, coalesce(a.currency_id, s.currency_id), s.month, 0, 0, 0, sum(s.cost), 0, 0
    from sold s
    left join {{source}}.finance_agreements a on a.id = s.agreement_id
    where s.month is not null
    group by 1, 2, 3
    union all
    select a.company_id, coalesce(nullif(a.currency_id, -1), c.currency_id), a.month, 0, 0, 0, 0, sum(a.additions_cost), 0
    from {{reporting}}.fct_agreement_month a
    left join {{source}}.company_companies c on c.id = a.company_id
    where (a.is_running or a.additions_cost <> 0) and {{only: a.company_id, a.month}}
    group by 1, 2, 3
)
select
    company_id, -- client
    coalesce(currency.id, -1) as currency_id, -- currency: revenue by the invoice's, cost by its own, else by the client's
    month, -- first day of the month
    to_char(month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    sum(revenue) as revenue, -- invoices less credits, before tax
    sum(labour) as labour_cost, -- cost of hours worked, charge codes left out
    sum(expenses) as expense_cost, -- expenses
    sum(products) as product_cost, -- products
    sum(additions) as additions_cost, -- additions to agreements
    sum(revenue) - sum(labour) - sum(expenses) - sum(products) - sum(additions) as profit, -- revenue less all cost
    (sum(revenue) - sum(labour) - sum(expenses) - sum(products) - sum(additions)) / nullif(sum(revenue), 0) as margin, -- profit / revenue; empty without revenue
    sum(hours) as hours_actual, -- hours worked
    sum(revenue) / nullif(sum(hours), 0) as revenue_per_hour -- revenue an hour worked
from parts
left join {{source}}.finance_currencies currency on currency.id = parts.currency_id
group by 1, 2, 3, 4
