-- index: ticket_id
-- index: date
select ticket_id from {{reporting}}.fct_ticket_all where synced_at >= {{since}}
union
-- a day has passed for those that were open at the end of the last one
select ticket_id from {{reporting}}.fct_ticket_daily_all
where date = (select max(date) from {{reporting}}.fct_ticket_daily_all)
  and (select max(date) from {{reporting}}.fct_ticket_daily_all) < (now() at time zone {{time_zone}})::date - 1
union
-- those that came in and are open since
select ticket_id from {{reporting}}.fct_ticket_all
where not is_closed
  and (select max(date) from {{reporting}}.fct_ticket_daily_all) < (now() at time zone {{time_zone}})::date - 1
union
-- days that are older than 400 by now
select ticket_id from {{reporting}}.fct_ticket_daily_all
where date < (now() at time zone {{time_zone}})::date - 400
