-- One row per client, currency, board, department, location, kind and age: billable work that is on no invoice, was not written off and that no
-- agreement covers (work in progress). Ages by the day of work, expense or purchase. Source: kpi_unbilled_all.
with work as (
    -- summed before names are looked up: a day has many items alike
    select kind, company_id, agreement_id, currency_id, board_id, department_id, location_id, date, count(*) as items, sum(hours_actual) as hours, sum(revenue) as revenue
    from {{reporting}}.kpi_unbilled_all
    group by 1, 2, 3, 4, 5, 6, 7, 8
)
select
    coalesce(c.id, -1) as company_id, -- client
    coalesce(case work.kind when 'expense' then currency.id else a.currency_id end, c.currency_id, -1) as currency_id, -- currency of the expense, or of the agreement, else of the client
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
    sum(work.items)::bigint as items, -- time entries, expenses or product lines
    sum(work.hours) as hours_actual, -- hours worked
    sum(work.revenue) as revenue -- what they would bring
from work
left join {{source}}.company_companies c on c.id = work.company_id
left join {{source}}.finance_agreements a on a.id = work.agreement_id
left join {{source}}.finance_currencies currency on currency.id = work.currency_id
left join {{source}}.service_boards b on b.id = work.board_id
left join {{source}}.system_departments d on d.id = work.department_id
left join {{source}}.system_locations l on l.id = work.location_id
group by 1, 2, 3, 4, 5, 6, 7
