-- One row per running agreement with an allotment (block or prepaid hours, amounts, incidents): what it
-- covers in its present period, what is used, and what is left. Used is what agreements covered of time
-- entries, by local day of work; of amounts, of expenses too. Adjustments of the period are added; what is
-- carried over from earlier periods is not. Sources: finance/agreements, finance/agreements/adjustments,
-- fct_time_entry_all, fct_expense.
with today as (select (now() at time zone {{time_zone}})::date as date),
agreements as (
    select
        a.id, d.company_id, d.agreement_type_id, d.currency_id, a.application_units as units, a.application_cycle as cycle,
        case when coalesce(a.application_unlimited_flag, false) then null else a.application_limit end as allotment,
        coalesce(a.carry_over_unused, false) as carries_over,
        a.start_date, today.date as today
    from {{source}}.finance_agreements a
    join {{reporting}}.dim_agreement d on d.agreement_id = a.id
    cross join today
    where a._deleted_at is null and a.application_limit > 0
      and not coalesce(a.application_unlimited_flag, false)
      and coalesce(a.start_date, today.date) <= today.date
      and coalesce(d.ends_on, today.date) >= today.date
      and coalesce(d.cancelled_on, today.date + 1) > today.date
),
periods as (
    select
        a.*,
        case
            when cycle = 'CalendarWeek' then date_trunc('week', today::timestamp)::date
            when cycle = 'CalendarMonth' then date_trunc('month', today::timestamp)::date
            when cycle = 'CalendarQuarter' then date_trunc('quarter', today::timestamp)::date
            when cycle = 'CalendarYear' then date_trunc('year', today::timestamp)::date
            when cycle in ('Contract2Weeks', 'Contract4Weeks') and start_date is not null
                then start_date + (today - start_date) / case cycle when 'Contract2Weeks' then 14 else 28 end * case cycle when 'Contract2Weeks' then 14 else 28 end
            when cycle in ('ContractQuarter', 'ContractYear') and start_date is not null then (
                -- always from the start: counted on from a short month, the 31st would stay the 28th
                select max((start_date + steps * every)::date)
                from (select case cycle when 'ContractQuarter' then interval '3 months' else interval '1 year' end as every) length
                cross join generate_series(0, 4 * (extract(year from today)::int - extract(year from start_date)::int + 1)) steps
                where start_date + steps * every <= today
            )
            else start_date
        end as period_start
    from agreements a
),
used as (
    select
        p.id,
        sum(e.hours_agreement) as hours,
        sum(e.agreement_amount) as amount,
        count(distinct e.ticket_id) filter (where e.hours_agreement > 0 or e.agreement_amount > 0) as incidents
    from periods p
    join {{reporting}}.fct_time_entry_all e
        on e.agreement_id = p.id and e.work_date >= coalesce(p.period_start, date '1990-01-01') and e.work_date <= p.today and not e.is_deleted
    group by 1
),
spent as (
    select p.id, sum(e.agreement_amount) as amount
    from periods p
    join {{reporting}}.fct_expense e on e.agreement_id = p.id and e.date >= coalesce(p.period_start, date '1990-01-01') and e.date <= p.today
    group by 1
),
adjusted as (
    select p.id, sum(j.amount) as amount
    from periods p
    join {{source}}.finance_agreements_adjustments j
        on j.parent_id = p.id and j._deleted_at is null and j.effective_date >= coalesce(p.period_start, date '1990-01-01') and j.effective_date <= p.today
    group by 1
)
select
    p.id as agreement_id, -- agreement
    p.company_id as company_id, -- client
    p.agreement_type_id as agreement_type_id, -- type
    p.currency_id as currency_id, -- currency, where units are amounts
    p.units as units, -- what is allotted: Hours, Amount or Incidents
    p.cycle as cycle, -- how often it starts anew: CalendarMonth, ContractYear, …
    p.period_start as period_start, -- first day of the present period
    p.carries_over as carries_over, -- what is left goes into the next period; it is not in these figures
    p.allotment as allotment, -- what the agreement covers in the period
    coalesce(j.amount, 0) as adjusted, -- adjustments of the period
    figures.used as used, -- used of it so far
    p.allotment + coalesce(j.amount, 0) - figures.used as remaining, -- left; negative: overrun
    figures.used / nullif(p.allotment + coalesce(j.amount, 0), 0) as share_used, -- used / (allotment + adjustments)
    figures.used > p.allotment + coalesce(j.amount, 0) as is_overrun -- more used than allotted
from periods p
left join used u on u.id = p.id
left join spent s on s.id = p.id
left join adjusted j on j.id = p.id
cross join lateral (
    select case p.units
        when 'Amount' then coalesce(u.amount, 0) + coalesce(s.amount, 0)
        when 'Incidents' then coalesce(u.incidents, 0)::numeric
        else coalesce(u.hours, 0)
    end as used
) figures
