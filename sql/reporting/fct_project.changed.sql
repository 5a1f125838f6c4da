-- How late a project is depends on the day: anew each day, and whenever work, cost or revenue has changed.
select where
    ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
    or exists (select from {{source}}.project_projects where _synced_at >= {{since}})
    or exists (select from {{reporting}}.fct_time_entry_all where changed_at > {{since}})
    or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
    or exists (select from {{source}}.expense_entries where _synced_at >= {{since}})
    or exists (select from {{source}}.procurement_products where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_invoices where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_billing_statuses where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_agreements where _synced_at >= {{since}})
    or exists (select from {{source}}.company_companies where _synced_at >= {{since}})
    or exists (select from {{source}}.system_members where _synced_at >= {{since}})
    or exists (select from {{source}}.time_work_types where _synced_at >= {{since}})
