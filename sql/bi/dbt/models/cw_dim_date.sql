select
    date_id,
    date,
    year,
    quarter,
    month,
    month_name,
    month_starts_on,
    week_starts_on,
    weekday,
    weekday_name,
    is_weekday,
    is_month_end,
    days_from_today
from {{ source('reporting', 'dim_date') }}
where date is not null
