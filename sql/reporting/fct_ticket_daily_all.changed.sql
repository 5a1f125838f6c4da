-- index: ticket_id
-- index: date
select ticket_id from {{reporting}}.fct_ticket_all where changed_at > {{since}}
union
-- a day has passed for those that were open at its end
select ticket_id from {{reporting}}.fct_ticket_all
where ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
  and not is_deleted
  and (not is_closed or closed_at is null or closed_at >= {{since}}::timestamptz - interval '1 day')
union
-- days that are older than 400 by now
select ticket_id from {{reporting}}.fct_ticket_daily_all
where date < (now() at time zone {{time_zone}})::date - 400
