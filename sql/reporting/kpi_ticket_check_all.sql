-- One row per block of 512 ticket numbers: how many of its service tickets have what kpi_data_readiness
-- looks for, which is what reports should read. Merged tickets are left out. Source: fct_ticket_all.
select
    ticket_block, -- the ticket number divided by 512
    count(*) filter (where is_closed) as closed, -- closed
    count(*) filter (where is_closed and (resolved_at is null or resolve_goal_at is null)) as closed_without_sla_dates, -- of these, without a resolution or its goal
    count(*) filter (where is_close_assumed) as closed_without_date, -- of these, without a closing date
    count(*) filter (where is_closed and time_entries = 0) as closed_without_time, -- of these, without time entries
    count(*) filter (where not is_closed) as open, -- open
    count(*) filter (where not is_closed and owner_id is null) as open_without_owner -- of these, without owner
from {{reporting}}.fct_ticket_all
where not is_deleted and not is_merged and record_type = 'ServiceTicket' and {{only by index: ticket_block}}
group by 1
