select
    survey_result_id,
    survey_id,
    ticket_id,
    company_id,
    contact_id,
    points,
    comment,
    wants_contact,
    answered_at,
    answered_date,
    changed_at
from {{ source('reporting', 'fct_survey') }}
