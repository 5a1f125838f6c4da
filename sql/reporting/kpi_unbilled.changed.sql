-- Ages depend on the day: anew each day, and whenever work, expenses or products have changed.
select where
    ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
    or exists (select from {{reporting}}.fct_time_entry_all where changed_at >= {{since}})
    or exists (select from {{source}}.time_entries where _synced_at >= {{since}})
    or exists (select from {{reporting}}.fct_ticket_all where changed_at >= {{since}})
    or exists (select from {{source}}.service_boards where _synced_at >= {{since}})
    or exists (select from {{source}}.system_departments where _synced_at >= {{since}})
    or exists (select from {{source}}.system_locations where _synced_at >= {{since}})
    or exists (select from {{source}}.expense_entries where _synced_at >= {{since}})
    or exists (select from {{source}}.procurement_products where _synced_at >= {{since}})
    or exists (select from {{source}}.company_companies where _synced_at >= {{since}})
