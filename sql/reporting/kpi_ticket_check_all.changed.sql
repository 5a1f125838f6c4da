-- index: ticket_block
select distinct ticket_block from {{reporting}}.fct_ticket_all where changed_at > {{since}}
