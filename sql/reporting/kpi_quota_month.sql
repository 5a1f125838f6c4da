-- One row per member, currency and month with a sales quota: what was to be won, and what was. Won is
-- forecast revenue of opportunities closed as won in the month, by local day, of the primary
-- representative. What names no currency is in the one that quotas and opportunities have, if it is one;
-- else a quota without a currency, or in one that is not listed, is compared with nothing. Sources:
-- sales/quotas, kpi_sales_month.
with currencies as (
    select
        count(distinct named.currency_id) as several,
        case when count(distinct named.currency_id) = 1 then max(listed.id) end as the_one
    from (
        select currency_id from {{source}}.sales_quotas where _deleted_at is null
        union all
        select currency_id from {{source}}.sales_opportunities where _deleted_at is null
    ) named
    left join {{source}}.finance_currencies listed on listed.id = named.currency_id
),
quotas as (
    select
        q.member_id, coalesce(listed.id, currencies.the_one, -1) as currency_id, make_date(q.forecast_year::int, m.number, 1) as month,
        sum(m.revenue) as revenue, sum(m.margin) as margin
    from {{source}}.sales_quotas q
    cross join currencies
    left join {{source}}.finance_currencies listed on listed.id = q.currency_id
    cross join lateral (values
            (1, q.january_revenue, q.january_margin),
            (2, q.february_revenue, q.february_margin),
            (3, q.march_revenue, q.march_margin),
            (4, q.april_revenue, q.april_margin),
            (5, q.may_revenue, q.may_margin),
            (6, q.june_revenue, q.june_margin),
            (7, q.july_revenue, q.july_margin),
            (8, q.august_revenue, q.august_margin),
            (9, q.september_revenue, q.september_margin),
            (10, q.october_revenue, q.october_margin),
            (11, q.november_revenue, q.november_margin),
            (12, q.december_revenue, q.december_margin)
    ) as m (number, revenue, margin)
    where q._deleted_at is null and q.forecast_year between 1990 and 2050
    group by 1, 2, 3
),
won as (
    select
        s.member_id, s.month, sum(s.revenue_won) as revenue,
        case when s.currency_id = -1 then coalesce(currencies.the_one, -1) else s.currency_id end as currency_id
    from {{reporting}}.kpi_sales_month s
    cross join currencies
    group by 1, 2, 4
)
select
    coalesce(member.id, -1) as member_id, -- sales representative
    q.currency_id as currency_id, -- currency of the amounts
    q.month as month, -- first day of the month
    to_char(q.month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    coalesce(sum(q.revenue), 0) as revenue_quota, -- revenue to be won
    coalesce(sum(q.margin), 0) as margin_quota, -- margin to be won
    case when q.currency_id > 0 or currencies.several < 2 then coalesce(max(w.revenue), 0) end as revenue_won, -- revenue won; empty: the quota's currency is not known
    case when q.currency_id > 0 or currencies.several < 2 then coalesce(max(w.revenue), 0) end / nullif(sum(q.revenue), 0) as attainment -- won / quota
from quotas q
cross join currencies
left join {{source}}.system_members member on member.id = q.member_id
left join won w on w.member_id = q.member_id and w.currency_id = q.currency_id and w.month = q.month
group by coalesce(member.id, -1), q.currency_id, q.month, currencies.several
