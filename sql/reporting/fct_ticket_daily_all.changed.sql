-- index: ticket_id
-- index: date
select ticket_id from {{reporting}}.fct_ticket_all where synced_at >= {{since}}
union
-- days have passed for those still open
select ticket_id from {{reporting}}.fct_ticket_all
where not is_closed and not is_deleted
  and (select max(date) from {{reporting}}.fct_ticket_daily_all) < (now() at time zone {{time_zone}})::date - 1
