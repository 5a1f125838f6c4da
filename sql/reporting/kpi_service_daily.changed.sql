-- index: date
select where
    exists (select from {{reporting}}.fct_ticket_all where synced_at >= {{since}})
    or exists (select from {{source}}.time_entries where _synced_at >= {{since}} and ticket_id is not null)
    or exists (select from {{source}}.service_boards where _synced_at >= {{since}})
