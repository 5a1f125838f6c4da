-- One row per thing in ConnectWise that makes the numbers wrong: how many records have it, of how many.
-- Sources: as each row says.
with members as (
    select
        count(*) as total,
        count(*) filter (where coalesce(hourly_cost, 0) = 0) as free,
        count(*) filter (where coalesce(include_in_utilization_reporting_flag, false)) as utilized,
        count(*) filter (where coalesce(include_in_utilization_reporting_flag, false) and coalesce(daily_capacity, 0) = 0) as idle,
        count(*) filter (where calendar_id is null) as timeless,
        (select count(*) from {{source}}.system_members where _deleted_at is null and inactive_flag) as left_us,
        (select count(*) from {{source}}.system_members where _deleted_at is null and inactive_flag and inactive_date is null) as undated
    from {{source}}.system_members
    where _deleted_at is null and not coalesce(inactive_flag, false)
),
entries as (
    select
        coalesce(sum(entries), 0)::bigint as total,
        coalesce(sum(without_cost), 0)::bigint as free,
        coalesce(sum(of_unlisted_members), 0)::bigint as strangers,
        coalesce(sum(billable), 0)::bigint as billable,
        coalesce(sum(billable_without_rate), 0)::bigint as rateless
    from {{reporting}}.kpi_time_entry_check_all
),
tickets as (
    select
        coalesce(sum(closed), 0)::bigint as closed,
        coalesce(sum(closed_without_sla_dates), 0)::bigint as undated,
        coalesce(sum(closed_without_date), 0)::bigint as assumed,
        coalesce(sum(closed_without_time), 0)::bigint as untimed,
        coalesce(sum(open), 0)::bigint as open,
        coalesce(sum(open_without_owner), 0)::bigint as unowned
    from {{reporting}}.kpi_ticket_check_all
),
additions as (
    select
        count(*) as total,
        count(*) filter (where cost_per_bill = 0) as free,
        count(*) filter (where billable_option = 'Billable') as billable,
        count(*) filter (where billable_option = 'Billable' and price_per_bill = 0) as priceless
    from {{reporting}}.fct_addition
),
opportunities as (
    select
        count(*) as total,
        count(*) filter (where revenue = 0) as worthless,
        count(*) filter (where expected_close_date < (now() at time zone {{time_zone}})::date) as late
    from {{reporting}}.fct_opportunity
    where is_open
)
select
    'members without cost' as check_name, -- what is looked for
    'system/members' as entity, -- where
    free as affected, -- records that have it
    total as total, -- of so many
    'their hours cost nothing in agreement, client and project profit, unless the time entry has a cost' as effect, -- what it does to the numbers
    'set the hourly cost in the member''s record, and let the API member see it' as remedy -- what to do
from members
union all
select 'members without capacity', 'system/members', idle, utilized,
    'their utilization is empty, and they are left out of everybody''s', 'set the daily capacity in the member''s record'
from members
union all
select 'inactive members without a date', 'system/members', undated, left_us,
    'they count as having left when their record was last changed', 'set the inactive date in the member''s record'
from members
union all
select 'members without calendar', 'system/members', timeless, total,
    'their capacity is Monday to Friday, without holidays', 'set the calendar in the member''s record'
from members
union all
select 'time entries without cost', 'time/entries', free, total,
    'these hours cost nothing in any profit', 'set the member''s hourly cost, and let the API member see it'
from entries
union all
select 'time entries of members that are not listed', 'time/entries', strangers, total,
    'they show as Unknown in every report by member', 'let the API member see all members; system members stay unknown'
from entries
union all
select 'billable time without a rate', 'time/entries', rateless, billable,
    'it brings no revenue', 'set the rate of the work role or work type'
from entries
union all
select 'closed tickets without SLA dates', 'service/tickets', undated, closed,
    'they are missing from response and resolution times and from SLA rates', 'give the board''s statuses their SLA stage, and the ticket an SLA'
from tickets
union all
select 'closed tickets without a closing date', 'service/tickets', assumed, closed,
    'they count as closed at their last change', 'let the API member see closedDate, or close them once more'
from tickets
union all
select 'SLA minutes whose reading is not clear', 'service/tickets',
    case r.reading when 'per stage' then r.resolve_above_clock when 'cumulative' then r.plan_below_response else r.tickets end, r.tickets,
    case r.reading
        when 'per stage' then 'none but these: this tenant counts minutes per stage; response = respond + skipped, plan = respond + plan + skipped, resolution = respond + plan + resolve'
        when 'cumulative' then 'none but these: this tenant counts each stage''s minutes from the entering of the ticket (cumulative), and they are taken as they are'
        else 'unclear: too few resolved tickets, or they disagree; minutes are taken per stage, as other tools do, so that response, plan and resolution times may be too long'
    end,
    'see kpi_sla_reading; SLA rates come from dates and do not depend on it'
from {{reporting}}.kpi_sla_reading r
union all
select 'closed tickets where ConnectWise''s SLA verdict differs', 'service/tickets', coalesce(sum(differing), 0)::bigint, coalesce(sum(tickets), 0)::bigint,
    format(
        'within SLA there but missed by date: response %s, plan %s, resolution %s; not within there, none missed by date: %s with a skipped stage, %s without',
        coalesce(sum(in_sla_but_respond_missed), 0), coalesce(sum(in_sla_but_plan_missed), 0), coalesce(sum(in_sla_but_resolve_missed), 0),
        coalesce(sum(out_of_sla_with_skipped_stage), 0), coalesce(sum(out_of_sla_all_met), 0)
    ),
    'decide which of the two you report, and name it; kpi_sla_verdict has them by board and month'
from {{reporting}}.kpi_sla_verdict
union all
select 'closed tickets without time', 'service/tickets', untimed, closed,
    'they are missing from first touch and hours a ticket', 'write time down'
from tickets
union all
select 'open tickets without owner', 'service/tickets', unowned, open,
    'they show as Unknown in every report by member', 'assign an owner'
from tickets
union all
select 'billable additions without a price', 'finance/agreements/additions', priceless, billable,
    'they bring no recurring revenue', 'set the price of the addition'
from additions
union all
select 'additions without cost', 'finance/agreements/additions', free, total,
    'the profit of their agreements looks too good', 'set the cost of the addition'
from additions
union all
select 'open opportunities without forecast', 'sales/opportunities', worthless, total,
    'they are worth nothing in the pipeline', 'give the opportunity a forecast'
from opportunities
union all
select 'open opportunities past their expected close', 'sales/opportunities', late, total,
    'the pipeline shows months that are over', 'close them, or set another date'
from opportunities
union all
select 'closed opportunities without a closing date', 'sales/opportunities', count(*) filter (where o.closed_date is null), count(*),
    'they count as closed at their last change', 'set the closing date of the opportunity'
from {{reporting}}.fct_opportunity f
join {{source}}.sales_opportunities o on o.id = f.opportunity_id
where not f.is_open
union all
select 'invoices in another currency than their agreement', 'finance/invoices', count(*) filter (where i.currency_id <> a.currency_id), count(*),
    'they have a row of their own in the agreement''s month, in their currency', 'nothing, if it is meant so'
from {{reporting}}.fct_invoice i
join {{reporting}}.dim_agreement a on a.agreement_id = i.agreement_id
where a.currency_id > 0 and i.currency_id > 0 and not i.is_void
union all
select 'projects with amounts in several currencies', 'project/projects', count(*) filter (where revenue_worked is null or revenue_billed is null or expense_cost is null or product_cost is null), count(*),
    'the amounts that would add up several are empty', 'bill and buy for a project in its own currency'
from {{reporting}}.fct_project
union all
select 'work types without utilization flag', 'time/workTypes', count(*) filter (where utilization_flag is null), count(*),
    'their hours do not count towards utilization', 'set the flag in the work type'
from {{source}}.time_work_types
where _deleted_at is null and not coalesce(inactive_flag, false)
union all
select 'work types with a cost multiplier of 0', 'time/workTypes', count(*) filter (where cost_multiplier = 0), count(*),
    'it counts as 1: hours at no cost would make every client look better', 'set the multiplier in the work type'
from {{source}}.time_work_types
where _deleted_at is null and not coalesce(inactive_flag, false)
union all
select 'void invoices', 'finance/invoices', count(*) filter (where is_void), count(*),
    'none: their amounts are 0 in every report', 'nothing, if their status is named Void on purpose'
from {{reporting}}.fct_invoice_all
union all
select 'balances of invoices in a closed status', 'finance/invoices', count(*) filter (where s.is_closed), count(*),
    'they count as receivables, although their status says that they are settled', 'pay, credit or write off the invoice, or open its status'
from {{reporting}}.fct_ar r
join {{reporting}}.dim_billing_status s on s.billing_status_id = r.billing_status_id
union all
select 'clients in a currency of their own', 'company/companies', count(*) filter (where c.currency_id is distinct from most.currency_id), count(*),
    'amounts are shown by currency and never added up; revenue by member is empty', 'nothing: filter by currency'
from {{source}}.company_companies c
cross join (select mode() within group (order by currency_id) as currency_id from {{source}}.company_companies where _deleted_at is null) most
where c._deleted_at is null and c.currency_id is not null
union all
select 'agreements whose billing cycle is unknown', 'finance/agreements', count(*) filter (where c.months is null), count(*),
    'their recurring revenue counts as monthly', 'set the billing cycle of the agreement'
from {{reporting}}.dim_agreement a
join {{reporting}}.dim_billing_cycle c on c.billing_cycle_id = a.billing_cycle_id and c.is_recurring
where a.agreement_id > 0 and not a.is_deleted and not a.is_one_time
union all
select 'cancelled agreements without a date', 'finance/agreements', count(*) filter (where date_cancelled is null), count(*),
    'they count as cancelled at their last change', 'set the date of cancellation'
from {{source}}.finance_agreements
where _deleted_at is null and coalesce(cancelled_flag, false)
union all
select 'open invoices without due date', 'finance/invoices', count(*) filter (where due_date is null), count(*),
    'their age counts from the day of the invoice', 'set the billing terms'
from {{reporting}}.fct_ar
union all
select 'sales quotas without a currency', 'sales/quotas', count(*) filter (where listed.id is null and several.currencies > 1), count(*),
    'what was won is not compared with them, because there are several currencies', 'set the currency of the quota, and let the API member see it'
from {{source}}.sales_quotas q
left join {{source}}.finance_currencies listed on listed.id = q.currency_id
cross join (
    select count(distinct currency_id) as currencies
    from (
        select currency_id from {{source}}.sales_quotas where _deleted_at is null
        union all
        select currency_id from {{source}}.sales_opportunities where _deleted_at is null
    ) named
) several
where q._deleted_at is null
