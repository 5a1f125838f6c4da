-- One row per client, currency, board, department, location, kind and age: billable work that is on no invoice, was not written off and that no
-- agreement covers (work in progress). Ages by the day of work, expense or purchase. Source: kpi_unbilled_all.
with today as materialized (select (now() at time zone {{time_zone}})::date as date),
-- numbers in place of words: grouped in half of the time
items as (
    select
        u.company_id, u.agreement_id, u.currency_id, u.board_id, u.department_id, u.location_id, u.hours_actual, u.revenue,
        case u.kind when 'time' then 1 when 'expense' then 2 else 3 end as kind,
        case when u.date >= today.date - 30 then 1 when u.date >= today.date - 60 then 2 when u.date >= today.date - 90 then 3 else 4 end as age
    from {{reporting}}.kpi_unbilled_all u
    cross join today
),
counted as (
    select
        coalesce(c.id, -1) as company_id,
        coalesce(currency.id, -1) as currency_id,
        coalesce(b.id, -1) as board_id,
        coalesce(d.id, -1) as department_id,
        coalesce(l.id, -1) as location_id,
        i.kind, i.age, count(*) as items, sum(i.hours_actual) as hours, sum(i.revenue) as revenue
    from items i
    left join {{source}}.company_companies c on c.id = i.company_id
    left join {{source}}.finance_agreements a on a.id = i.agreement_id
    left join {{source}}.finance_currencies currency on currency.id = coalesce(case i.kind when 2 then i.currency_id else a.currency_id end, c.currency_id)
    left join {{source}}.service_boards b on b.id = i.board_id
    left join {{source}}.system_departments d on d.id = i.department_id
    left join {{source}}.system_locations l on l.id = i.location_id
    group by 1, 2, 3, 4, 5, 6, 7
)
select
    company_id, -- client
    currency_id, -- currency of the expense, or of the agreement, else of the client
    board_id, -- board of the ticket it was done on
    department_id, -- our department (business unit)
    location_id, -- our location
    (array['time', 'expense', 'product'])[kind] as kind, -- time, expense or product
    (array['0-30', '31-60', '61-90', '91+'])[age] as age_bucket, -- days since: 0-30, 31-60, 61-90 or 91+, also without a date
    items, -- time entries, expenses or product lines
    hours as hours_actual, -- hours worked
    revenue -- what they would bring
from counted
