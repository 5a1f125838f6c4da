-- index: ticket_id
-- index: transition_date
select ticket_id from {{reporting}}.fct_ticket_all where changed_at > {{since}}
union
-- a service ticket with the number of a project ticket, which fct_ticket_all shows instead
select id from {{history}}.service_tickets where _recorded_to >= {{since}}
union
select id from {{history}}.project_tickets where _recorded_to >= {{since}}
