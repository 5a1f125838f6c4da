-- index: ticket_id
-- index: closed_date
-- index: entered_date
-- index: closed_date_id
-- index: entered_date_id
-- index: company_id
-- index: ticket_block
-- index: changed_at
-- index: is_closed
-- index: respond_goal_date
-- index: plan_goal_date
-- index: resolve_goal_date
select id as ticket_id from {{source}}.service_tickets where _synced_at >= {{since}}
union
select id from {{source}}.project_tickets where _synced_at >= {{since}}
union
select ticket_id from {{source}}.time_entries where _synced_at >= {{since}} and ticket_id is not null
union
-- the ticket that an entry was moved away from
select ticket_id from {{history}}.time_entries where _recorded_to >= {{since}} and ticket_id is not null
