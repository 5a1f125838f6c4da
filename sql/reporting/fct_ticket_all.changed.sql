-- index: ticket_id
-- index: closed_date
-- index: entered_date
-- index: company_id
-- index: synced_at
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
select value::bigint from cw_sync.history
where tenant = {{tenant}} and entity = 'time/entries' and column_name = 'ticket_id'
  and recorded_at >= {{since}} and value is not null
