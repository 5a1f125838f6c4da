-- A tenant of {tickets} service tickets and all else in proportion, over four years, straight into the
-- entities' tables. {tickets} is the only thing to fill in.
select setseed(0.25);

insert into connectwise.company_companies
    (id, identifier, name, status_id, status_name, currency_id, deleted_flag, last_updated, _row_hash)
select n, 'c' || n, 'Company ' || n, 1, 'Active', 1, n % 97 = 0, now() - random() * interval '900 days', 0
from generate_series(1, greatest(20, {tickets} / 500)) n;

insert into connectwise.company_contacts (id, first_name, last_name, company_id, inactive_flag, _row_hash)
select n, 'Pat', 'Person ' || n, 1 + n % greatest(20, {tickets} / 500), n % 9 = 0, 0
from generate_series(1, {tickets} / 25) n;

insert into connectwise.company_configurations
    (id, name, type_name, company_id, active_flag, purchase_date, warranty_expiration_date, _row_hash)
select n, 'PC-' || n, 'Workstation', 1 + n % greatest(20, {tickets} / 500), n % 5 > 0,
    now() - random() * interval '1400 days', now() + (random() - 0.5) * interval '1400 days', 0
from generate_series(1, {tickets} / 10) n;

insert into connectwise.system_members
    (id, identifier, first_name, last_name, daily_capacity, hourly_cost, include_in_utilization_reporting_flag,
     hire_date, inactive_flag, inactive_date, default_department_id, _row_hash)
select n, 'm' || n, 'Member', n::text, 8, 25 + n % 30, n % 6 > 0, now() - (400 + n * 7) * interval '1 day',
    n % 11 = 0, case when n % 11 = 0 then now() - n * interval '1 day' end, 1 + n % 4, 0
from generate_series(1, 150) n;

insert into connectwise.service_boards (id, name, project_flag, _row_hash)
select n, 'Board ' || n, n > 10, 0 from generate_series(1, 12) n;

insert into connectwise.service_boards_statuses (parent_id, id, name, closed_status, sort_order, _row_hash)
select b, 10 * b + n, (array['New', 'Assigned', 'In progress', 'Waiting', 'Scheduled', 'Completed'])[n], n = 6, n, 0
from generate_series(1, 12) b, generate_series(1, 6) n;

insert into connectwise.service_boards_types (parent_id, id, name, _row_hash)
select b, 10 * b + n, 'Type ' || n, 0 from generate_series(1, 12) b, generate_series(1, 8) n;

insert into connectwise.service_priorities (id, name, sort_order, _row_hash)
select n, 'Priority ' || n, n, 0 from generate_series(1, 5) n;

insert into connectwise.service_sources (id, name, _row_hash) select n, 'Source ' || n, 0 from generate_series(1, 6) n;
insert into connectwise.service_slas (id, name, respond_hours, _row_hash) select n, 'SLA ' || n, n, 0 from generate_series(1, 3) n;
insert into connectwise.time_work_types (id, name, utilization_flag, cost_multiplier, _row_hash)
select n, 'Work ' || n, n % 5 > 0, 1, 0 from generate_series(1, 10) n;
insert into connectwise.time_work_roles (id, name, hourly_rate, _row_hash) select n, 'Role ' || n, 100 + n, 0 from generate_series(1, 8) n;
insert into connectwise.time_charge_codes (id, name, _row_hash)
select n, (array['Vacation', 'Sick', 'Meeting', 'Training'])[n], 0 from generate_series(1, 4) n;
insert into connectwise.system_locations (id, name, _row_hash) select n, 'Location ' || n, 0 from generate_series(1, 4) n;
insert into connectwise.system_departments (id, name, _row_hash) select n, 'Department ' || n, 0 from generate_series(1, 4) n;
insert into connectwise.finance_currencies (id, name, symbol, _row_hash) values (1, 'US Dollar', '$', 0);
insert into connectwise.finance_billing_cycles (id, name, billing_options, _row_hash)
values (1, 'Monthly', 'Monthly', 0), (2, 'Quarterly', 'Quarterly', 0), (3, 'Yearly', 'Yearly', 0);
insert into connectwise.procurement_catalog (id, identifier, description, category_name, _row_hash)
select n, 'P' || n, 'Product ' || n, 'Category ' || n % 20, 0 from generate_series(1, 5000) n;

insert into connectwise.finance_agreements
    (id, name, type_id, type_name, company_id, start_date, end_date, no_ending_date_flag, cancelled_flag, date_cancelled,
     billing_cycle_id, bill_amount, currency_id, agreement_status, last_updated, _row_hash)
select n, 'Agreement ' || n, 1, 'Managed', 1 + n % greatest(20, {tickets} / 500), s.starts, s.starts + 730, n % 3 > 0, n % 13 = 0,
    case when n % 13 = 0 then s.starts + 200 end, 1 + n % 3, 100 + n % 900, 1, 'Active', now(), 0
from generate_series(1, {tickets} / 330) n
cross join lateral (select (now() - random() * interval '1460 days' + n * interval '0 days')::date as starts) s;

insert into connectwise.finance_agreements_additions
    (parent_id, id, product_id, quantity, ext_price, ext_cost, bill_customer, agreement_id, effective_date, cancelled_date, _row_hash)
select a.id, a.id * 10 + n, 1 + (a.id * n) % 5000, n, 20 * n, 11 * n, case when n % 5 = 0 then 'DoNotBill' else 'Billable' end,
    a.id, a.start_date, case when n = 4 then a.start_date + 300 end, 0
from connectwise.finance_agreements a, generate_series(1, 5) n;

insert into connectwise.finance_invoices
    (id, invoice_number, type, status_id, company_id, agreement_id, date, due_date, subtotal, total, sales_tax, service_total,
     product_total, expense_total, agreement_amount, payments, credits, balance, currency_id, last_updated, _row_hash)
select n, n::text, case when n % 50 = 0 then 'CreditMemo' when n % 2 = 0 then 'Agreement' else 'Standard' end, 1,
    1 + n % greatest(20, {tickets} / 500), case when n % 2 = 0 then 1 + n % ({tickets} / 330) end, d.day, d.day + 30,
    500, 540, 40, 200, 100, 0, 200, 0, 0, case when n > {tickets} / 5 * 0.94 or n % 300 = 0 then 540 else 0 end, 1, now(), 0
from generate_series(1, {tickets} / 5) n
cross join lateral (select (now() - (1 - n / ({tickets} / 5.0)) * interval '1460 days')::date as day) d;

insert into connectwise.project_projects
    (id, name, company_id, manager_id, board_id, budget_hours, estimated_time_revenue, percent_complete, closed_flag,
     estimated_start, estimated_end, actual_end, currency_id, _row_hash)
select n, 'Project ' || n, 1 + n % greatest(20, {tickets} / 500), 1 + n % 150, 11, 40, 6000, 0.5, n % 10 > 1, d.day, d.day + 60,
    case when n % 10 > 1 then d.day + 65 end, 1, 0
from generate_series(1, {tickets} / 200) n
cross join lateral (select (now() - (1 - n / ({tickets} / 200.0)) * interval '1460 days')::date as day) d;

-- Most tickets are closed within days, some take weeks; of the last 60 days some are open.
insert into connectwise.service_tickets
    (id, summary, record_type, board_id, board_name, status_id, status_name, company_id, company_name, contact_id, type_id,
     priority_id, sla_id, source_id, owner_id, location_id, department_id, agreement_id, closed_flag, closed_date,
     date_entered, date_responded, date_resplan, date_resolved, respond_minutes, res_plan_minutes, resolve_minutes, minutes_waiting,
     respond_by_goal_utc, resplan_goal_utc, resolution_goal_utc, is_in_sla, merged_parent_ticket_id, actual_hours, currency_id,
     last_updated, _deleted_at, _row_hash)
select n, 'Something does not work, and it did yesterday: ' || n, 'ServiceTicket', b.board, 'Board ' || b.board,
    10 * b.board + case when c.closed then 6 else 1 + n % 5 end, 'Status', 1 + n % greatest(20, {tickets} / 500), 'Company', 1 + n % ({tickets} / 25),
    10 * b.board + 1 + n % 8, 1 + n % 5, 1 + n % 3, 1 + n % 6, case when n % 40 > 0 then 1 + n % 150 end, 1 + n % 4, 1 + n % 4,
    case when n % 3 = 0 then 1 + n % ({tickets} / 330) end, c.closed, case when c.closed then e.entered + c.life end,
    e.entered, e.entered + c.life / 10, e.entered + c.life / 5, case when c.closed then e.entered + c.life end,
    extract(epoch from c.life) / 1800, extract(epoch from c.life) / 900, extract(epoch from c.life) / 180, 0,
    e.entered + interval '4 hours', e.entered + interval '8 hours', e.entered + interval '3 days', c.life < interval '3 days',
    case when n % 60 = 0 then n - 1 end, 1.5, 1, least(now(), e.entered + c.life), case when n % 500 = 0 then now() end, 0
from generate_series(1, {tickets}) n
cross join lateral (select 1 + n % 10 as board) b
cross join lateral (select now() - (1 - n / {tickets}.0) * interval '1460 days' - random() * interval '1 hour' as entered) e
cross join lateral (
    select -ln(random() + 1e-9) * case when n % 20 = 0 then interval '30 days' else interval '36 hours' end as life
) l
cross join lateral (select least(l.life, interval '200 days') as life, e.entered + l.life < now() as closed) c;

insert into connectwise.project_tickets
    (id, summary, board_id, status_id, company_id, project_id, owner_id, closed_flag, closed_date, date_entered, last_updated, _row_hash)
select {tickets} + n, 'Task ' || n, 11, 116, 1 + n % greatest(20, {tickets} / 500), 1 + n % ({tickets} / 200), 1 + n % 150,
    e.entered < now() - interval '20 days', case when e.entered < now() - interval '20 days' then e.entered + interval '15 days' end,
    e.entered, e.entered, 0
from generate_series(1, {tickets} / 10) n
cross join lateral (select now() - (1 - n / ({tickets} / 10.0)) * interval '1460 days' as entered) e;

insert into connectwise.time_entries
    (id, company_id, charge_to_type, charge_to_id, ticket_id, project_id, agreement_id, member_id, work_type_id, work_role_id,
     location_ref_id, department_id, time_start, time_end, date_entered, actual_hours, hours_billed, invoice_hours, agreement_hours,
     billable_option, hourly_cost, hourly_rate, extended_invoice_amount, invoice_id, invoice_flag, status, last_updated, _deleted_at,
     _row_hash)
select n, k.company_id,
    case when k.internal then 'ChargeCode' when k.project then 'ProjectTicket' else 'ServiceTicket' end,
    case when k.internal then 1 + n % 4 else k.ticket_id end, case when not k.internal then k.ticket_id end,
    case when k.project then 1 + n % ({tickets} / 200) end, case when n % 3 = 0 then 1 + n % ({tickets} / 330) end, 1 + n % 150,
    1 + n % 10, 1 + n % 8, 1 + n % 4, 1 + n % 4, s.at, s.at + interval '50 minutes', s.at + (n % 40) * interval '1 hour', 0.83, 1,
    case when k.billed then 1 else 0 end, case when n % 3 = 0 then 1 else 0 end,
    case when n % 4 = 0 then 'DoNotBill' else 'Billable' end, (25 + n % 30)::text, 120, 120,
    case when k.billed then 1 + (n * 7) % ({tickets} / 5) end, k.billed, 'Open', s.at, case when n % 700 = 0 then now() end, 0
from generate_series(1, 2 * {tickets}) n
cross join lateral (
    select n % 12 = 0 as internal, n % 12 = 1 as project, n % 5 > 1 and n % 4 > 0 and n < 1.9 * {tickets} as billed,
        greatest(1, n / 2 - (n % 37)) + case when n % 12 = 1 then 0 else 0 end as ticket_id,
        case when n % 12 > 0 then 1 + n % greatest(20, {tickets} / 500) end as company_id
) k
cross join lateral (select now() - (1 - n / (2.0 * {tickets})) * interval '1460 days' as at) s;

insert into connectwise.expense_entries
    (id, company_id, member_id, agreement_id, project_id, date, amount, billable_option, invoice_amount, currency_id, status, _row_hash)
select n, 1 + n % greatest(20, {tickets} / 500), 1 + n % 150, case when n % 3 = 0 then 1 + n % ({tickets} / 330) end,
    case when n % 4 = 0 then 1 + n % ({tickets} / 200) end, now() - (1 - n / ({tickets} / 16.0)) * interval '1460 days', 40,
    case when n % 2 = 0 then 'Billable' else 'DoNotBill' end, 44, 1, 'Open', 0
from generate_series(1, {tickets} / 16) n;

insert into connectwise.procurement_products
    (id, catalog_item_id, company_id, agreement_id, project_id, ticket_id, invoice_id, purchase_date, quantity, billable_option,
     ext_price, ext_cost, description, _row_hash)
select n, 1 + n % 5000, 1 + n % greatest(20, {tickets} / 500), case when n % 5 = 0 then 1 + n % ({tickets} / 330) end,
    case when n % 4 = 0 then 1 + n % ({tickets} / 200) end, 1 + n * 5, case when n % 10 > 0 then 1 + n % ({tickets} / 5) end,
    now() - (1 - n / ({tickets} / 6.0)) * interval '1460 days', 2, 'Billable', 200, 140, 'Product', 0
from generate_series(1, {tickets} / 6) n;

insert into connectwise.sales_probabilities (id, probability, _row_hash) select n, n * 10, 0 from generate_series(1, 10) n;
insert into connectwise.sales_stages (id, name, probability_id, sequence_number, _row_hash) select n, 'Stage ' || n, n, n, 0 from generate_series(1, 6) n;
insert into connectwise.sales_opportunities_statuses (id, name, won_flag, lost_flag, closed_flag, _row_hash)
values (1, 'Open', false, false, false, 0), (2, 'Won', true, false, true, 0), (3, 'Lost', false, true, true, 0);
insert into connectwise.sales_opportunities
    (id, name, company_id, primary_sales_rep_id, stage_id, status_id, probability_id, expected_close_date, closed_date, date_became_lead,
     date_entered, currency_id, last_updated, _row_hash)
select n, 'Opportunity ' || n, 1 + n % greatest(20, {tickets} / 500), 1 + n % 150, 1 + n % 6, case when n % 8 = 0 then 1 else 2 + n % 2 end,
    1 + n % 10, e.entered + interval '60 days', case when n % 8 > 0 then e.entered + interval '50 days' end, e.entered, e.entered, 1, now(), 0
from generate_series(1, {tickets} / 50) n
cross join lateral (select now() - (1 - n / ({tickets} / 50.0)) * interval '1460 days' as entered) e;
insert into connectwise.sales_opportunities_forecast
    (parent_id, id, forecast_revenue_totals_revenue, forecast_revenue_totals_cost, recurring_total, currency_id, _row_hash)
select id, id, 4000, 2500, 300, 1, 0 from connectwise.sales_opportunities;
insert into connectwise.sales_activities
    (id, name, company_id, assign_to_id, opportunity_id, date_start, date_end, close_flag, _row_hash)
select n, 'Call', 1 + n % greatest(20, {tickets} / 500), 1 + n % 150, 1 + n % ({tickets} / 50), e.at, e.at + interval '30 minutes', n % 6 > 0, 0
from generate_series(1, {tickets} / 10) n
cross join lateral (select now() - (1 - n / ({tickets} / 10.0)) * interval '1460 days' as at) e;

insert into connectwise.schedule_types (id, name, _row_hash) values (1, 'Service', 0), (2, 'Time Off', 0);
insert into connectwise.schedule_entries (id, name, member_id, type_id, object_id, date_start, date_end, hours, done_flag, _row_hash)
select n, 'Visit', 1 + n % 150, 1 + (n % 40 = 0)::int, n, e.at, e.at + interval '2 hours', 2, true, 0
from generate_series(1, {tickets} / 2) n
cross join lateral (select now() - (1 - n / ({tickets} / 2.0)) * interval '1460 days' as at) e;

insert into connectwise.service_surveys_results (parent_id, id, ticket_id, company_id, contact_id, total_points, last_updated, _row_hash)
select 1, n, 20 * n, 1 + (20 * n) % greatest(20, {tickets} / 500), 1 + n % ({tickets} / 25), 1 + n % 5,
    now() - (1 - n / ({tickets} / 20.0)) * interval '1460 days', 0
from generate_series(1, {tickets} / 20) n;

-- A year of watching: three versions of each ticket before the present one.
update cw_sync.history_column set since = now() - interval '365 days';
insert into connectwise.service_tickets__versions
    (id, summary, record_type, board_id, status_id, company_id, contact_id, type_id, priority_id, sla_id, source_id, owner_id,
     location_id, department_id, agreement_id, closed_flag, date_entered, date_responded, date_resplan, respond_minutes,
     res_plan_minutes, minutes_waiting, respond_by_goal_utc, resplan_goal_utc, resolution_goal_utc, is_in_sla, merged_parent_ticket_id,
     actual_hours, currency_id, last_updated, _valid_from, _valid_to, _next_from, _recorded_to)
select t.id, t.summary, t.record_type, t.board_id, 10 * t.board_id + v.n, t.company_id, t.contact_id, t.type_id, t.priority_id, t.sla_id,
    t.source_id, case when v.n > 1 then t.owner_id end, t.location_id, t.department_id, t.agreement_id, false, t.date_entered,
    case when v.n > 1 then t.date_responded end, case when v.n > 2 then t.date_resplan end, case when v.n > 1 then t.respond_minutes end,
    case when v.n > 2 then t.res_plan_minutes end, t.minutes_waiting, t.respond_by_goal_utc, t.resplan_goal_utc, t.resolution_goal_utc,
    t.is_in_sla, t.merged_parent_ticket_id, v.n * 0.5, t.currency_id, coalesce(v.began, t.date_entered), v.began, v.ended, v.ended, v.ended
from connectwise.service_tickets t
cross join lateral (select least(now(), coalesce(t.closed_date, now())) - t.date_entered as life) l
cross join lateral (values
    (1, null, t.date_entered + l.life * 0.1),
    (2, t.date_entered + l.life * 0.1, t.date_entered + l.life * 0.5),
    (3, t.date_entered + l.life * 0.5, t.date_entered + l.life)
) v (n, began, ended)
where t.date_entered > now() - interval '365 days';

insert into cw_sync.checkpoint (tenant, entity, watermark)
select distinct 'connectwise', entity, now() from cw_sync.history_column on conflict do nothing;
