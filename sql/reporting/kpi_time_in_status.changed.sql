select where
    exists (select from {{reporting}}.fct_ticket_all where changed_at > {{since}})
    or exists (select from {{source}}.service_boards where _synced_at >= {{since}})
    or exists (select from {{source}}.service_boards_statuses where _synced_at >= {{since}})
