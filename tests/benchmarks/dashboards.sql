-- Twenty typical questions of dashboards, as tools ask them of the reporting schema directly.

--- tickets opened by month
select d.month_starts_on, count(*)
from reporting.fct_ticket t
join reporting.dim_date d on d.date_id = t.entered_date_id
where d.date >= current_date - 365
group by 1;

--- tickets closed by month and board
select d.month_starts_on, b.board_name, count(*)
from reporting.fct_ticket t
join reporting.dim_date d on d.date_id = t.closed_date_id
join reporting.dim_board b using (board_id)
where d.date >= current_date - 365
group by 1, 2;

--- within SLA this month, one figure
select count(*) filter (where t.is_in_sla)::numeric / nullif(count(*) filter (where t.is_in_sla is not null), 0)
from reporting.fct_ticket t
join reporting.dim_date d on d.date_id = t.closed_date_id
where d.month_key = (select month_key from reporting.dim_date where days_from_today = 0);

--- within SLA by client, the worst twenty
select c.company_name, avg(case when t.is_in_sla then 1 else 0 end)
from reporting.fct_ticket t
join reporting.dim_date d on d.date_id = t.closed_date_id
join reporting.dim_company c using (company_id)
where d.date >= current_date - 365 and t.is_in_sla is not null
group by 1
order by 2, 1 limit 20;

--- one client's tickets by month and type
select d.month_starts_on, y.type_name, count(*)
from reporting.fct_ticket t
join reporting.dim_date d on d.date_id = t.entered_date_id
join reporting.dim_ticket_type y using (type_id)
where t.company_id = 42 and d.date >= current_date - 365
group by 1, 2;

--- one client's open tickets, row by row
select t.ticket_id, t.summary, s.status_name, p.priority_name, t.entered_at
from reporting.fct_ticket t
join reporting.dim_ticket_status s using (status_id)
join reporting.dim_priority p using (priority_id)
where t.company_id = 42 and not t.is_closed
order by t.entered_at limit 200;

--- open tickets by board and priority
select b.board_name, p.priority_name, count(*)
from reporting.fct_ticket t
join reporting.dim_board b using (board_id)
join reporting.dim_priority p using (priority_id)
where not t.is_closed
group by 1, 2;

--- minutes to respond by board
select b.board_name, sum(t.respond_business_minutes)::numeric / nullif(count(t.respond_business_minutes), 0)
from reporting.fct_ticket t
join reporting.dim_date d on d.date_id = t.closed_date_id
join reporting.dim_board b using (board_id)
where d.date >= current_date - 365
group by 1;

--- a ticket by its number
select t.*, c.company_name
from reporting.fct_ticket t
join reporting.dim_company c using (company_id)
where t.ticket_id = 4711;

--- backlog by day and board, ninety days
select k.date, b.board_name, sum(k.tickets_open)
from reporting.kpi_backlog_daily k
join reporting.dim_board b using (board_id)
where k.date >= current_date - 90
group by 1, 2;

--- service figures by week
select d.week_label, sum(k.tickets_opened), sum(k.tickets_closed)
from reporting.kpi_service_daily k
join reporting.dim_date d using (date_id)
where d.date >= current_date - 365
group by d.week_key, 1
order by d.week_key;

--- hours by member and week
select m.member_name, d.week_label, sum(e.hours_actual)
from reporting.fct_time_entry e
join reporting.dim_date d on d.date_id = e.work_date_id
join reporting.dim_member m using (member_id)
where d.date >= current_date - 90
group by 1, 2;

--- hours by work type, this year
select w.work_type_name, sum(e.hours_actual)
from reporting.fct_time_entry e
join reporting.dim_date d on d.date_id = e.work_date_id
join reporting.dim_work_type w using (work_type_id)
where d.date >= current_date - 365
group by 1;

--- hours of one client by member
select m.member_name, sum(e.hours_actual)
from reporting.fct_time_entry e
join reporting.dim_date d on d.date_id = e.work_date_id
join reporting.dim_member m using (member_id)
where e.company_id = 42 and d.date >= current_date - 365
group by 1;

--- utilization by member, a quarter
select m.member_name, sum(k.hours_utilized) / nullif(sum(k.hours_capacity), 0)
from reporting.fct_member_day k
join reporting.dim_member m using (member_id)
where k.date >= current_date - 90
group by 1;

--- recurring revenue by month
select month, sum(mrr)
from reporting.kpi_mrr_month
group by 1
order by 1;

--- margin by client, the last twelve months
select c.company_name, sum(k.profit) / nullif(sum(k.revenue), 0)
from reporting.kpi_client_month k
join reporting.dim_company c using (company_id)
where k.month >= current_date - 365
group by 1;

--- receivables by client and age
select c.company_name, sum(k.balance), sum(k.not_due)
from reporting.kpi_ar_aging k
join reporting.dim_company c using (company_id)
group by 1
order by 2 desc limit 50;

--- invoiced by month
select d.month_starts_on, sum(i.subtotal)
from reporting.fct_invoice i
join reporting.dim_date d using (date_id)
where d.date >= current_date - 365
group by 1;

--- how old the numbers are
select min(data_complete_through)
from reporting.freshness;
