-- index: agreement_id
-- index: company_id
-- index: changed_at
with invoices as (
    select id, agreement_id, apply_to_type, apply_to_id from {{source}}.finance_invoices where _synced_at >= {{since}}
    union all
    -- what it billed before it was moved
    select id, agreement_id, apply_to_type, apply_to_id from {{history}}.finance_invoices where _recorded_to >= {{since}}
),
work as (
    {{work changed: agreement_id}}
),
edited as (
    select id, start_date from {{source}}.finance_agreements where _synced_at >= {{since}}
    union all
    select id, start_date from {{history}}.finance_agreements where _recorded_to >= {{since}}
),
everything as (
    select
        -- a month has begun
        date_trunc('month', {{since}}::timestamptz at time zone {{time_zone}}) < date_trunc('month', now() at time zone {{time_zone}})
        or exists (select from {{source}}.finance_billing_cycles where _synced_at >= {{since}})
        or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
        or exists (select from {{source}}.finance_billing_statuses where _synced_at >= {{since}})
        -- the first month of all, from which on agreements are looked at, may be another one
        or exists (
            select from edited where date_trunc('month', start_date::timestamp)
                <= (select date_trunc('month', min(start_date)::timestamp) from {{source}}.finance_agreements)
        ) as is_due
)
select id as agreement_id from edited
union
select parent_id from {{source}}.finance_agreements_additions where _synced_at >= {{since}}
union
select agreement_id from work where agreement_id is not null
union
select coalesce(agreement_id, case when apply_to_type = 'Agreement' then apply_to_id end) from invoices
where coalesce(agreement_id, case when apply_to_type = 'Agreement' then apply_to_id end) is not null
union
-- products count in the month of their invoice
select p.agreement_id from invoices i join {{reporting}}.fct_product_all p on p.invoice_id = i.id where p.agreement_id is not null
union
-- clients that have just come
select v.id from {{versions}}.finance_agreements v join {{source}}.company_companies c on c.id = v.company_id where c._synced_at >= {{since}}
union
select id from {{source}}.finance_agreements where (select is_due from everything)
union
select agreement_id from {{reporting}}.fct_agreement_month where (select is_due from everything)
