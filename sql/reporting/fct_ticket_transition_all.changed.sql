-- index: ticket_id
-- index: transition_date
select ticket_id from {{reporting}}.fct_ticket_all where changed_at > {{since}}
