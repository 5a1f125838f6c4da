-- One row per change of a ticket that was seen: which column, from what, to what, when. Changes between
-- two reads of ConnectWise show as one. Source: fct_ticket_transition_all.
select
    t.ticket_id, -- ticket
    t.entity, -- service/tickets or project/tickets
    t.attribute, -- status_id, board_id, owner_id, priority_id, company_id, type_id, closed_flag or closed_date
    t.from_value, -- before
    t.to_value, -- after
    t.transition_at as changed_at, -- when, by the record's own stamp
    t.transition_date as changed_date, -- local day of it
    t.attribute = 'closed_flag' and t.from_value = 'true' as is_reopening, -- closed before, open after
    coalesce(company.id, -1) as company_id, -- client now
    coalesce(board.id, -1) as board_id, -- board now
    coalesce(location.id, -1) as location_id, -- our location now
    coalesce(department.id, -1) as department_id -- our department now
from {{reporting}}.fct_ticket_transition_all t
left join {{source}}.company_companies company on company.id = t.company_id
left join {{source}}.service_boards board on board.id = t.board_id
left join {{source}}.system_locations location on location.id = t.location_id
left join {{source}}.system_departments department on department.id = t.department_id
