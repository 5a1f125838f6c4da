-- index: month
-- index: agreement_id
-- index: changed_at
with days as (
    select ({{since}}::timestamptz at time zone {{time_zone}})::date as before, (now() at time zone {{time_zone}})::date as today
),
edited as (
    select start_date from {{source}}.finance_agreements where _synced_at >= {{since}}
    union all
    select start_date from {{history}}.finance_agreements where _recorded_to >= {{since}}
),
everything as (
    select
        -- a month has begun, or was closed
        date_trunc('month', days.before::timestamp) < date_trunc('month', days.today::timestamp)
        or ({{since}}::timestamptz < (date_trunc('month', now() at time zone {{time_zone}}) + {{month_closes_on}} * interval '1 day') at time zone {{time_zone}}
            and now() >= (date_trunc('month', now() at time zone {{time_zone}}) + {{month_closes_on}} * interval '1 day') at time zone {{time_zone}})
        or exists (select from {{source}}.finance_billing_cycles where _synced_at >= {{since}})
        or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
        -- the first month of all, from which on agreements are looked at, may be another one
        or exists (
            select from edited where date_trunc('month', start_date::timestamp)
                <= (select date_trunc('month', min(start_date)::timestamp) from {{source}}.finance_agreements)
        ) as is_due
    from days
),
dated as (
    -- what begins or ends on a day that has come
    select id as agreement_id, start_date as first, end_date as last, coalesce(date_cancelled, (v.last_updated at time zone {{time_zone}})::date) as cancelled from {{versions}}.finance_agreements v
    union all
    select parent_id, effective_date, cancelled_date, null from {{versions}}.finance_agreements_additions v
)
select id as agreement_id from {{source}}.finance_agreements where _synced_at >= {{since}}
union
select parent_id from {{source}}.finance_agreements_additions where _synced_at >= {{since}}
union
select id from {{source}}.finance_agreements where (select is_due from everything)
union
select agreement_id from {{reporting}}.fct_mrr_month where (select is_due from everything)
union
select d.agreement_id
from dated d
join days on days.before < days.today
where d.first between days.before and days.today
   or d.last between days.before - 1 and days.today
   or d.cancelled between days.before and days.today
union
-- clients that have just come
select v.id
from {{versions}}.finance_agreements v
join {{source}}.company_companies c on c.id = v.company_id
where c._synced_at >= {{since}}
