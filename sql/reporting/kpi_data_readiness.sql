-- One row per thing in ConnectWise that makes the numbers wrong: how many records have it, of how many.
-- Sources: as each row says.
select
    'members without cost' as check_name, -- what is looked for
    'system/members' as entity, -- where
    count(*) filter (where coalesce(hourly_cost, 0) = 0) as affected, -- records that have it
    count(*) as total, -- of so many
    'their hours cost nothing in agreement, client and project profit, unless the time entry has a cost' as effect, -- what it does to the numbers
    'set the hourly cost in the member''s record, and let the API member see it' as remedy -- what to do
from {{source}}.system_members
where _deleted_at is null and not coalesce(inactive_flag, false)
union all
select 'members without capacity', 'system/members', count(*) filter (where coalesce(daily_capacity, 0) = 0), count(*),
    'their utilization is empty', 'set the daily capacity in the member''s record'
from {{source}}.system_members
where _deleted_at is null and not coalesce(inactive_flag, false) and coalesce(include_in_utilization_reporting_flag, false)
union all
select 'members without calendar', 'system/members', count(*) filter (where calendar_id is null), count(*),
    'their capacity is Monday to Friday, without holidays', 'set the calendar in the member''s record'
from {{source}}.system_members
where _deleted_at is null and not coalesce(inactive_flag, false)
union all
select 'time entries without cost', 'time/entries', count(*) filter (where cost_basis = 'none'), count(*),
    'these hours cost nothing in any profit', 'set the member''s hourly cost, and let the API member see it'
from {{reporting}}.fct_time_entry_all
where not is_deleted
union all
select 'time entries of members that are not listed', 'time/entries', count(*) filter (where m.id is null), count(*),
    'they show as Unknown in every report by member', 'let the API member see all members; system members stay unknown'
from {{reporting}}.fct_time_entry_all e
left join {{source}}.system_members m on m.id = e.member_id
where not e.is_deleted
union all
select 'billable time without a rate', 'time/entries', count(*) filter (where hourly_rate = 0), count(*),
    'it brings no revenue', 'set the rate of the work role or work type'
from {{reporting}}.fct_time_entry_all
where not is_deleted and is_billable
union all
select 'work types without utilization flag or cost multiplier', 'time/workTypes', count(*) filter (where utilization_flag is null or cost_multiplier = 0), count(*),
    'their hours do not count towards utilization; a multiplier of 0 counts as 1', 'set both in the work type'
from {{source}}.time_work_types
where _deleted_at is null and not coalesce(inactive_flag, false)
union all
select 'closed tickets without SLA dates', 'service/tickets', count(*) filter (where resolve_business_minutes is null or resolve_goal_at is null), count(*),
    'they are missing from response and resolution times and from SLA rates', 'give the board''s statuses their SLA stage, and the ticket an SLA'
from {{reporting}}.fct_ticket_all
where not is_deleted and not is_merged and is_closed and record_type = 'ServiceTicket'
union all
select 'closed tickets without time', 'service/tickets', count(*) filter (where time_entries = 0), count(*),
    'they are missing from first touch and hours a ticket', 'write time down'
from {{reporting}}.fct_ticket_all
where not is_deleted and not is_merged and is_closed and record_type = 'ServiceTicket'
union all
select 'open tickets without owner', 'service/tickets', count(*) filter (where owner_id is null), count(*),
    'they show as Unknown in every report by member', 'assign an owner'
from {{reporting}}.fct_ticket_all
where not is_deleted and not is_merged and not is_closed and record_type = 'ServiceTicket'
union all
select 'agreements whose billing cycle is unknown', 'finance/agreements', count(*) filter (where c.months is null), count(*),
    'their recurring revenue counts as monthly', 'set the billing cycle of the agreement'
from {{reporting}}.dim_agreement a
join {{reporting}}.dim_billing_cycle c on c.billing_cycle_id = a.billing_cycle_id and c.is_recurring
where a.agreement_id > 0 and not a.is_deleted and not a.is_one_time
union all
select 'cancelled agreements without a date', 'finance/agreements', count(*) filter (where date_cancelled is null), count(*),
    'they count in recurring revenue until they end', 'set the date of cancellation'
from {{source}}.finance_agreements
where _deleted_at is null and coalesce(cancelled_flag, false)
union all
select 'billable additions without a price', 'finance/agreements/additions', count(*) filter (where price_per_bill = 0), count(*),
    'they bring no recurring revenue', 'set the price of the addition'
from {{reporting}}.fct_addition
where billable_option = 'Billable'
union all
select 'additions without cost', 'finance/agreements/additions', count(*) filter (where cost_per_bill = 0), count(*),
    'the profit of their agreements looks too good', 'set the cost of the addition'
from {{reporting}}.fct_addition
union all
select 'open opportunities without forecast', 'sales/opportunities', count(*) filter (where revenue = 0), count(*),
    'they are worth nothing in the pipeline', 'give the opportunity a forecast'
from {{reporting}}.fct_opportunity
where is_open
union all
select 'open opportunities past their expected close', 'sales/opportunities', count(*) filter (where expected_close_date < (now() at time zone {{time_zone}})::date), count(*),
    'the pipeline shows months that are over', 'close them, or set another date'
from {{reporting}}.fct_opportunity
where is_open
union all
select 'open invoices without due date', 'finance/invoices', count(*) filter (where due_date is null), count(*),
    'their age counts from the day of the invoice', 'set the billing terms'
from {{reporting}}.fct_ar
