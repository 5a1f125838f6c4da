-- Some checks depend on what day it is: anew each day, and whenever something that is counted has changed.
select where
    ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
    or exists (select from {{reporting}}.fct_time_entry_all where changed_at > {{since}})
    or exists (select from {{reporting}}.fct_ticket_all where changed_at > {{since}})
    or exists (select from {{source}}.time_entries where _synced_at >= {{since}})
    or exists (select from {{source}}.system_members where _synced_at >= {{since}})
    or exists (select from {{source}}.time_work_types where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_agreements where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_agreements_additions where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_billing_cycles where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_invoices where _synced_at >= {{since}})
    or exists (select from {{source}}.sales_quotas where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
    or exists (select from {{source}}.sales_opportunities where _synced_at >= {{since}})
    or exists (select from {{source}}.sales_opportunities_forecast where _synced_at >= {{since}})
    or exists (select from {{source}}.sales_opportunities_statuses where _synced_at >= {{since}})
    or exists (select from {{source}}.company_companies where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_billing_statuses where _synced_at >= {{since}})
