-- index: company_id
-- index: month
with invoices as (
    select id, company_id, coalesce(agreement_id, case when apply_to_type = 'Agreement' then apply_to_id end) as agreement_id
    from {{source}}.finance_invoices where _synced_at >= {{since}}
    union all
    -- whose it was before it was moved
    select id, company_id, coalesce(agreement_id, case when apply_to_type = 'Agreement' then apply_to_id end)
    from {{history}}.finance_invoices where _recorded_to >= {{since}}
),
agreements as (
    select id from {{source}}.finance_agreements where _synced_at >= {{since}}
    union
    select parent_id from {{source}}.finance_agreements_additions where _synced_at >= {{since}}
),
concerned as (
    select id as company_id from {{source}}.company_companies where _synced_at >= {{since}}
    union
    select company_id from invoices
    union
    {{work changed: company_id}}
    union
    -- products count in the month of their invoice
    select p.company_id from {{source}}.procurement_products p join invoices i on i.id = p.invoice_id
    union
    select company_id from {{reporting}}.fct_agreement_month where changed_at > {{since}}
    union
    -- whose an agreement was, and in which months
    select v.company_id from {{versions}}.finance_agreements v join agreements a on a.id = v.id
    union
    -- whose month shows nothing but an agreement, of which the last work or invoice may be gone
    select v.company_id
    from {{versions}}.finance_agreements v
    join {{reporting}}.kpi_client_month k on k.company_id = v.company_id
    where v.id in (
        {{work changed: agreement_id}}
        union
        select agreement_id from invoices
        union
        select p.agreement_id from {{source}}.procurement_products p join invoices i on i.id = p.invoice_id
    ) and k.revenue = 0 and k.labour_cost = 0 and k.expense_cost = 0 and k.product_cost = 0 and k.additions_cost = 0 and k.hours_actual = 0
    union
    -- all, where a void invoice may be none any more, or a currency has just come
    select company_id from {{reporting}}.kpi_client_month
    where exists (select from {{source}}.finance_billing_statuses where _synced_at >= {{since}})
       or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
)
select company_id from concerned where company_id is not null
union
-- who is not listed, or has just come, is or was the unknown client
select -1 where exists (select from concerned)
