select where
    exists (select from {{source}}.service_surveys_results where _synced_at >= {{since}})
    or exists (select from {{reporting}}.fct_ticket_all where changed_at > {{since}})
    or exists (select from {{source}}.company_companies where _synced_at >= {{since}})
