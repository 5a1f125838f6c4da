-- index: kind, item_id
-- index: ticket_id
select 'time' as kind, time_entry_id as item_id from {{reporting}}.fct_time_entry_all where changed_at > {{since}} and is_unbilled
union
select u.kind, u.item_id
from {{reporting}}.fct_time_entry_all e join {{reporting}}.kpi_unbilled_all u on u.kind = 'time' and u.item_id = e.time_entry_id
where e.changed_at > {{since}}
union
select 'expense', id from {{source}}.expense_entries where _synced_at >= {{since}}
union
select 'product', id from {{source}}.procurement_products where _synced_at >= {{since}}
union
-- what was done on tickets that may be on another board now
select u.kind, u.item_id
from {{reporting}}.fct_ticket_all t join {{reporting}}.kpi_unbilled_all u on u.ticket_id = t.ticket_id
where t.changed_at > {{since}}
