-- index: ticket_id
-- index: began_at
-- index: changed_at
select ticket_id from {{reporting}}.fct_ticket_all where changed_at > {{since}}
