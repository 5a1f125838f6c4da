select
    date,
    date_id,
    ticket_id,
    record_type,
    board_id,
    status_id,
    priority_id,
    owner_id,
    company_id,
    age_days,
    changed_at
from {{ source('reporting', 'fct_ticket_daily') }}
