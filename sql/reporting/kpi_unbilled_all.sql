-- One row per time entry, expense or product line that is billable, on no invoice, not written off and not
-- covered by an agreement, ids as ConnectWise gave them. kpi_unbilled is what reports should read. Sources:
-- fct_time_entry_all, fct_expense, fct_product_all, fct_ticket_all.
with work as (
    select 'time' as kind, e.time_entry_id as item_id, e.company_id, e.agreement_id, null::bigint as currency_id, e.ticket_id, e.department_id, e.location_id, e.work_date as date, e.hours_actual as hours, e.revenue
    from {{reporting}}.fct_time_entry_all e
    where e.is_unbilled and not e.is_deleted and {{only: 'time', e.time_entry_id}}
    union all
    select 'expense', e.id, e.company_id, null, e.currency_id, e.ticket_id, e.business_unit_id, e.location_id, f.date, 0::numeric, f.revenue
    from {{reporting}}.fct_expense f
    join {{source}}.expense_entries e on e.id = f.expense_id
    where f.is_unbilled and {{only: 'expense', f.expense_id}}
    union all
    select 'product', p.product_line_id, p.company_id, p.agreement_id, null, p.ticket_id, p.department_id, p.location_id, p.purchase_date, 0::numeric, p.revenue
    from {{reporting}}.fct_product_all p
    where p.is_billable and p.invoice_id is null and {{only: 'product', p.product_line_id}}
)
select
    w.kind as kind, -- time, expense or product
    w.item_id as item_id, -- ConnectWise id of the time entry, expense or product line
    w.company_id as company_id, -- client
    w.agreement_id as agreement_id, -- agreement it is done under, whose currency it has; none of expenses
    w.currency_id as currency_id, -- currency of its own, of expenses
    w.ticket_id as ticket_id, -- ticket it was done on
    t.board_id as board_id, -- board of that ticket now
    w.department_id as department_id, -- our department
    w.location_id as location_id, -- our location
    w.date as date, -- day of work, expense or purchase
    w.hours as hours_actual, -- hours worked
    w.revenue as revenue, -- what it would bring
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from work w
left join {{reporting}}.fct_ticket_all t on t.ticket_id = w.ticket_id
