-- index: ticket_block
-- index: date
select distinct ticket_block from {{reporting}}.fct_ticket_all where changed_at > {{since}}
