-- One row per running agreement with an allotment (block or prepaid hours, amounts, incidents): what it
-- covers in its present period, what is used, and what is left. Used is what agreements covered of time
-- entries, by local day of work; of amounts, of expenses too. Adjustments of the period are added, and what
-- earlier periods left where the agreement carries it over: the oldest is used first, and is lost once its
-- days are over; an overrun is billed, and shortens no later period. Earlier periods count with the
-- agreement's limit of now. Sources: finance/agreements, finance/agreements/adjustments,
-- fct_time_entry_all, fct_expense.
with recursive today as (select (now() at time zone {{time_zone}})::date as date),
agreements as (
    select
        a.id, d.company_id, d.agreement_type_id, d.currency_id, a.application_units as units, a.application_cycle as cycle,
        a.application_limit as allotment, coalesce(a.carry_over_unused, false) as carries_over, nullif(a.expired_days, 0)::int as expires_after,
        a.start_date, today.date as today, length.every,
        case when a.application_cycle like 'Calendar%' then date_trunc(length.unit, coalesce(a.start_date, today.date)::timestamp)::date else a.start_date end as anchor
    from {{source}}.finance_agreements a
    join {{reporting}}.dim_agreement d on d.agreement_id = a.id
    cross join today
    left join (
        values
            ('CalendarWeek', interval '1 week', 'week'), ('CalendarMonth', interval '1 month', 'month'),
            ('CalendarQuarter', interval '3 months', 'quarter'), ('CalendarYear', interval '1 year', 'year'),
            ('Contract2Weeks', interval '14 days', null), ('Contract4Weeks', interval '28 days', null),
            ('ContractQuarter', interval '3 months', null), ('ContractYear', interval '1 year', null)
    ) length (cycle, every, unit) on length.cycle = a.application_cycle
    where a._deleted_at is null and a.application_limit > 0
      and not coalesce(a.application_unlimited_flag, false)
      and coalesce(a.start_date, today.date) <= today.date
      and coalesce(d.ends_on, today.date) >= today.date
      and coalesce(d.cancelled_on, today.date + 1) > today.date
),
-- The present period of each, and those before of what carries over. Always counted from the start: from a
-- short month on, the 31st would stay the 28th.
periods as (
    select a.id, p.first_day, (a.anchor + (steps + 1) * a.every)::date as next_day
    from agreements a
    cross join lateral generate_series(0, (a.today - a.anchor) / (extract(epoch from a.every) / 86400 - 3)::int + 1) steps
    cross join lateral (select (a.anchor + steps * a.every)::date as first_day) p
    where p.first_day <= a.today and (a.carries_over or (a.anchor + (steps + 1) * a.every)::date > a.today)
    union all
    select id, coalesce(start_date, date '1990-01-01'), date 'infinity' from agreements where every is null or anchor is null
),
used as (
    select p.id, e.work_date as date, sum(e.hours_agreement) as hours, sum(e.agreement_amount) as amount, 0 as incidents
    from periods p
    join {{reporting}}.fct_time_entry_all e on e.agreement_id = p.id and e.work_date >= p.first_day and e.work_date < p.next_day and not e.is_deleted
    group by 1, 2
    union all
    -- a ticket is one incident a period
    select id, date, 0, 0, count(*)
    from (
        select p.id, min(e.work_date) as date
        from periods p
        join {{reporting}}.fct_time_entry_all e on e.agreement_id = p.id and e.work_date >= p.first_day and e.work_date < p.next_day and not e.is_deleted
        where (e.hours_agreement > 0 or e.agreement_amount > 0) and e.ticket_id is not null
        group by p.id, p.first_day, e.ticket_id
    ) q
    group by 1, 2
    union all
    select p.id, e.date, 0, sum(e.agreement_amount), 0
    from periods p
    join {{reporting}}.fct_expense e on e.agreement_id = p.id and e.date >= p.first_day and e.date < p.next_day
    group by 1, 2
),
granted as (
    select p.id, p.first_day, p.next_day, a.allotment, coalesce(sum(j.amount), 0) as adjusted, p.next_day > a.today as is_present
    from periods p
    join agreements a on a.id = p.id
    left join {{source}}.finance_agreements_adjustments j
        on j.parent_id = p.id and j._deleted_at is null and j.effective_date >= p.first_day and j.effective_date < p.next_day and j.effective_date <= a.today
    group by 1, 2, 3, 4, 6
),
-- Days on which something is granted, or is lost because it was not used.
turns as (
    select id, day, sum(granted) over w as granted, sum(lost) over w as granted_and_lost, coalesce(lead(day) over w, date 'infinity') as next_day, row_number() over w as at, overdrawn
    from (
        select id, day, sum(granted) as granted, sum(lost) as lost, sum(overdrawn) as overdrawn
        from (
            select id, first_day as day, greatest(allotment + adjusted, 0) as granted, 0 as lost, greatest(-allotment - adjusted, 0) as overdrawn
            from granted
            union all
            select g.id, g.next_day + a.expires_after, 0, greatest(g.allotment + g.adjusted, 0), 0
            from granted g
            join agreements a on a.id = g.id
            where g.next_day + a.expires_after <= a.today
        ) q
        group by 1, 2
    ) q
    window w as (partition by id order by day)
),
spent as (
    select
        t.id, t.at, t.day, t.granted, t.granted_and_lost,
        t.overdrawn + coalesce(sum(case a.units when 'Amount' then u.amount when 'Incidents' then u.incidents else u.hours end), 0) as used
    from turns t
    join agreements a on a.id = t.id
    left join used u on u.id = t.id and u.date >= t.day and u.date < t.next_day and u.date <= a.today
    group by 1, 2, 3, 4, 5, t.overdrawn
),
-- One row per agreement: of the days themselves each step below would read all, of all agreements.
series as (
    select
        id, array_agg(day order by at) as days, array_agg(granted order by at) as granted,
        array_agg(granted_and_lost order by at) as granted_and_lost, array_agg(used order by at) as used
    from spent
    group by 1
),
-- All that was granted so far is drawn, lost, or left; the oldest is drawn first.
balances as (
    select
        id, 1 as at, days[1] as day, granted[1] as granted, least(used[1], granted[1]) as drawn, 0::numeric as lost,
        greatest(used[1] - granted[1], 0) as overrun
    from series
    union all
    select b.id, s.at, s.day, s.granted, b.drawn + d.drawn, d.lost, s.used - d.drawn
    from balances b
    join series on series.id = b.id and cardinality(series.days) > b.at
    cross join lateral (
        select
            b.at + 1 as at, series.days[b.at + 1] as day, series.granted[b.at + 1] as granted,
            series.granted_and_lost[b.at + 1] as granted_and_lost, series.used[b.at + 1] as used
    ) s
    cross join lateral (
        select l.lost, least(s.used, s.granted - b.drawn - l.lost) as drawn
        from (select greatest(b.lost, s.granted_and_lost - b.drawn) as lost) l
    ) d
),
present as (
    select
        p.id, p.first_day, p.adjusted, sum(s.used) - greatest(-p.allotment - p.adjusted, 0) as used,
        (array_agg(b.granted - b.drawn - b.lost order by b.at desc))[1] - sum(b.overrun) as remaining
    from granted p
    join balances b on b.id = p.id and b.day >= p.first_day
    join spent s on s.id = b.id and s.at = b.at
    where p.is_present
    group by p.id, p.first_day, p.allotment, p.adjusted
)
select
    a.id as agreement_id, -- agreement
    a.company_id as company_id, -- client
    a.agreement_type_id as agreement_type_id, -- type
    a.currency_id as currency_id, -- currency, where units are amounts
    a.units as units, -- what is allotted: Hours, Amount or Incidents
    a.cycle as cycle, -- how often it starts anew: CalendarMonth, ContractYear, …
    nullif(p.first_day, date '1990-01-01') as period_start, -- first day of the present period
    a.carries_over as carries_over, -- what is left goes into the next period
    a.allotment as allotment, -- what the agreement covers in the period
    p.adjusted as adjusted, -- adjustments of the period
    p.used as used, -- used of it so far
    p.remaining as remaining, -- left: allotment + adjusted + carried_over - used; negative: overrun
    p.used / nullif(a.allotment + p.adjusted + c.carried_over, 0) as share_used, -- used / (allotment + adjusted + carried_over)
    p.remaining < 0 as is_overrun, -- more used than there was
    c.carried_over as carried_over, -- what earlier periods left, as far as it was used in this one or can still be
    a.expires_after as expires_after_days, -- days from the end of a period until what it left is lost; empty: never
    coalesce(o.allow_overruns, false) as allows_overruns -- more may be used than there is
from agreements a
join present p on p.id = a.id
join {{source}}.finance_agreements o on o.id = a.id
cross join lateral (select p.remaining - a.allotment - p.adjusted + p.used as carried_over) c
