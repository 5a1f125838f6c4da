-- One row per client, currency, board, department, location, kind and age: billable work that is on no invoice, was not written off and that no
-- agreement covers (work in progress). Ages by the day of work, expense or purchase. Sources: fct_time_entry_all,
-- fct_expense, fct_product.
with work as (
    select coalesce(c.id, -1) as company_id, coalesce(a.currency_id, c.currency_id, -1) as currency_id, t.board_id, e.department_id, e.location_id, 'time' as kind, e.work_date as date, e.hours_actual as hours, e.revenue
    from {{reporting}}.fct_time_entry_all e
    left join {{source}}.company_companies c on c.id = e.company_id
    left join {{source}}.finance_agreements a on a.id = e.agreement_id
    left join {{reporting}}.fct_ticket_all t on t.ticket_id = e.ticket_id
    where e.is_unbilled and not e.is_deleted and {{only: coalesce(c.id, -1)}}
    union all
    select e.company_id, case when e.currency_id > 0 then e.currency_id else coalesce(c.currency_id, -1) end, t.board_id, e.department_id, e.location_id, 'expense', e.date, 0, e.revenue
    from {{reporting}}.fct_expense e
    left join {{source}}.company_companies c on c.id = e.company_id
    left join {{reporting}}.fct_ticket_all t on t.ticket_id = e.ticket_id
    where e.is_unbilled and {{only: e.company_id}}
    union all
    select p.company_id, p.currency_id, t.board_id, p.department_id, p.location_id, 'product', p.purchase_date, 0, p.revenue
    from {{reporting}}.fct_product p
    left join {{reporting}}.fct_ticket_all t on t.ticket_id = p.ticket_id
    where p.is_billable and not p.is_invoiced and {{only: p.company_id}}
)
select
    work.company_id as company_id, -- client
    work.currency_id as currency_id, -- currency of the expense, or of the agreement, else of the client
    coalesce(b.id, -1) as board_id, -- board of the ticket it was done on
    coalesce(d.id, -1) as department_id, -- our department (business unit)
    coalesce(l.id, -1) as location_id, -- our location
    work.kind as kind, -- time, expense or product
    case
        when (now() at time zone {{time_zone}})::date - work.date <= 30 then '0-30'
        when (now() at time zone {{time_zone}})::date - work.date <= 60 then '31-60'
        when (now() at time zone {{time_zone}})::date - work.date <= 90 then '61-90'
        else '91+'
    end as age_bucket, -- days since: 0-30, 31-60, 61-90 or 91+, also without a date
    count(*) as items, -- time entries, expenses or product lines
    sum(work.hours) as hours_actual, -- hours worked
    sum(work.revenue) as revenue -- what they would bring
from work
left join {{source}}.service_boards b on b.id = work.board_id
left join {{source}}.system_departments d on d.id = work.department_id
left join {{source}}.system_locations l on l.id = work.location_id
group by 1, 2, 3, 4, 5, 6, 7
