-- index: month
-- index: agreement_id
select where
    ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
    or exists (select from {{source}}.finance_agreements where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_agreements_additions where _synced_at >= {{since}})
    or exists (select from {{source}}.finance_billing_cycles where _synced_at >= {{since}})
    or ({{since}}::timestamptz < date_trunc('month', now() at time zone {{time_zone}}) at time zone {{time_zone}} + {{month_closes_on}} * interval '1 day'
        and now() >= date_trunc('month', now() at time zone {{time_zone}}) at time zone {{time_zone}} + {{month_closes_on}} * interval '1 day')
    or exists (select from {{source}}.company_companies where _synced_at >= {{since}})
