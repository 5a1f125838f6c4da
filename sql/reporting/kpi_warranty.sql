-- One row per client, type of configuration and state of its warranty, as of today: active configurations
-- and when they will be without. Source: company/configurations.
select
    coalesce(company.id, -1) as company_id, -- client
    c.type_name as configuration_type, -- type
    case
        when c.warranty_expiration_date is null then 'unknown'
        when c.warranty_expiration_date < today.date then 'expired'
        when c.warranty_expiration_date <= today.date + 30 then '0-30'
        when c.warranty_expiration_date <= today.date + 90 then '31-90'
        when c.warranty_expiration_date <= today.date + 365 then '91-365'
        else '366+'
    end as warranty_ends_in, -- days until its last day: 0-30, 31-90, 91-365, 366+, or expired, or unknown
    count(*) as configurations, -- active configurations
    min(c.warranty_expiration_date) as first_ends_on, -- the earliest last day
    avg((today.date - c.purchase_date) / 365.25) as average_age_years -- since they were bought, of those with a date
from {{source}}.company_configurations c
cross join (select (now() at time zone {{time_zone}})::date as date) today
left join {{source}}.company_companies company on company.id = c.company_id
where c._deleted_at is null and coalesce(c.active_flag, false)
group by 1, 2, 3
