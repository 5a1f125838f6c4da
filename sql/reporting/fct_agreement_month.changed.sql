-- index: agreement_id
-- index: company_id
select where
    date_trunc('month', {{since}}::timestamptz at time zone {{time_zone}}) < date_trunc('month', now() at time zone {{time_zone}})
    or exists (select from {{reporting}}.fct_time_entry_all where changed_at >= {{since}})
    or exists (select from {{source}}.finance_agreements where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_agreements_additions where _synced_at >= {{since}})
    or exists (select from {{source}}.company_companies where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_billing_cycles where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_invoices where _synced_at >= {{since}})
    or exists (select from {{source}}.expense_entries where _synced_at >= {{since}})
    or exists (select from {{source}}.procurement_products where _synced_at >= {{since}})
    -- what an hour costs
    or exists (select from {{source}}.system_members where _synced_at >= {{since}})
    or exists (select from {{source}}.time_work_types where _synced_at >= {{since}})
