-- index: company_id, month
-- index: month
with invoices as (
    select id, company_id, coalesce(agreement_id, case when apply_to_type = 'Agreement' then apply_to_id end) as agreement_id, date
    from {{source}}.finance_invoices where _synced_at >= {{since}}
    union all
    -- whose it was, and of which day, before it was moved
    select id, company_id, coalesce(agreement_id, case when apply_to_type = 'Agreement' then apply_to_id end), date
    from {{history}}.finance_invoices where _recorded_to >= {{since}}
),
products as (
    select company_id, agreement_id, invoice_id, invoice_invoice_date, purchase_date
    from {{source}}.procurement_products where _synced_at >= {{since}}
    union all
    select p.company_id, p.agreement_id, p.invoice_id, p.invoice_invoice_date, p.purchase_date
    from invoices i
    join {{reporting}}.fct_product_all f on f.invoice_id = i.id
    join {{source}}.procurement_products p on p.id = f.product_line_id
    union all
    select company_id, agreement_id, invoice_id, invoice_invoice_date, purchase_date
    from {{history}}.procurement_products where _recorded_to >= {{since}}
    union all
    -- in the currency of their agreement
    select p.company_id, p.agreement_id, p.invoice_id, p.invoice_invoice_date, p.purchase_date
    from {{source}}.finance_agreements a
    join {{reporting}}.fct_product_all f on f.agreement_id = a.id
    join {{source}}.procurement_products p on p.id = f.product_line_id
    where a._synced_at >= {{since}}
),
entries as (
    select company_id, agreement_id, charge_code_id is not null as is_internal, work_date
    from {{reporting}}.fct_time_entry_all where changed_at > {{since}}
    union all
    select company_id, agreement_id, coalesce(charge_to_type = 'ChargeCode' and charge_to_id is not null, false), (time_start at time zone {{time_zone}})::date
    from {{history}}.time_entries where _recorded_to >= {{since}}
),
expenses as (
    select company_id, agreement_id, date from {{source}}.expense_entries where _synced_at >= {{since}}
    union all
    select company_id, agreement_id, date from {{history}}.expense_entries where _recorded_to >= {{since}}
),
-- whose agreements may have lost months: by an edit, or with their last work or invoice
agreements as (
    select id from {{source}}.finance_agreements where _synced_at >= {{since}}
    union
    select parent_id from {{source}}.finance_agreements_additions where _synced_at >= {{since}}
    union
    select agreement_id from entries
    union
    select agreement_id from expenses
    union
    select agreement_id from products
    union
    select agreement_id from invoices
),
parties as (
    select company_id from {{versions}}.finance_agreements v where v.id = any(array(select id from agreements where id is not null))
    union
    -- also where months went to a client that has come since
    select -1
    where exists (select from agreements where id is not null)
       or exists (select from {{reporting}}.fct_agreement_month where changed_at > {{since}})
),
concerned as (
    select company_id, date from invoices
    union
    -- charge codes cost no client anything
    select company_id, work_date from entries where not is_internal
    union
    select company_id, date from expenses
    union
    -- products count in the month of their invoice, which may have been moved itself
    select p.company_id, d.date
    from products p
    left join {{source}}.finance_invoices i on i.id = p.invoice_id
    left join invoices moved on moved.id = p.invoice_id
    cross join lateral (values (i.date), (moved.date), (p.invoice_invoice_date), (p.purchase_date)) d (date)
    union
    select company_id, month from {{reporting}}.fct_agreement_month where changed_at > {{since}}
    union
    -- months of agreements that are gone
    select k.company_id, k.month
    from {{reporting}}.kpi_client_month k
    left join (
        select m.company_id, m.month, coalesce(currency.id, -1) as currency_id, sum(m.additions_cost) as cost
        from {{reporting}}.fct_agreement_month m
        left join {{source}}.company_companies c on c.id = m.company_id
        left join {{source}}.finance_currencies currency on currency.id = coalesce(nullif(m.currency_id, -1), c.currency_id)
        where (m.is_running or m.additions_cost <> 0) and m.company_id in (select company_id from parties)
        group by 1, 2, 3
    ) a on a.company_id = k.company_id and a.month = k.month and a.currency_id = k.currency_id
    where k.company_id in (select company_id from parties)
      and (
        k.additions_cost <> coalesce(a.cost, 0)
        -- a month that showed nothing but an agreement
        or (a.cost is null and k.revenue = 0 and k.labour_cost = 0 and k.expense_cost = 0 and k.product_cost = 0 and k.hours_actual = 0)
      )
    union
    -- all months of clients that changed; where they have just come, of who is not listed, too
    select c.company_id, k.month
    from (
        select id as company_id from {{source}}.company_companies where _synced_at >= {{since}}
        union
        select -1 from {{source}}.company_companies n
        where n._synced_at >= {{since}} and not exists (select from {{reporting}}.kpi_client_month k where k.company_id = n.id)
    ) c
    cross join (select distinct month from {{reporting}}.kpi_client_month) k
    union
    -- all, where a void invoice may be none any more, or a currency has just come
    select company_id, month from {{reporting}}.kpi_client_month
    where exists (select from {{source}}.finance_billing_statuses where _synced_at >= {{since}})
       or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
)
select distinct coalesce(c.id, -1) as company_id, date_trunc('month', k.date::timestamp)::date as month
from concerned k
left join {{source}}.company_companies c on c.id = k.company_id
where k.date is not null
