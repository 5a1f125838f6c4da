-- One row per answered survey. Sources: service/surveys/results.
select
    r.id as survey_result_id, -- ConnectWise id
    r.parent_id as survey_id, -- survey
    r.ticket_id as ticket_id, -- ticket it is about
    coalesce(company.id, -1) as company_id, -- client
    coalesce(contact.id, -1) as contact_id, -- who answered
    r.total_points as points, -- points of all answers
    r.footer_response as comment, -- what they wrote
    coalesce(r.contact_me_flag, false) as wants_contact, -- asked to be called
    coalesce(r.date_entered, r.last_updated) as answered_at, -- when
    (coalesce(r.date_entered, r.last_updated) at time zone {{time_zone}})::date as answered_date, -- local day of it
    greatest(r._synced_at, company._synced_at, contact._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.service_surveys_results r
left join {{source}}.company_companies company on company.id = r.company_id
left join {{source}}.company_contacts contact on contact.id = r.contact_id
where r._deleted_at is null
