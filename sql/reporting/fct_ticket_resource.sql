-- One row per ticket and member assigned to it: a ticket has as many as work on it. Members whose login
-- name is not listed are -1. Owners are in fct_ticket. Sources: fct_ticket, system/members.
select
    t.ticket_id, -- ticket
    coalesce(m.id, -1) as member_id, -- member assigned
    t.owner_id = m.id as is_owner, -- owns the ticket, too
    t.resource_count, -- members assigned to it in all
    t.record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    t.is_closed, -- closed now
    t.is_merged, -- merged into another ticket: KPIs leave it out
    t.company_id, -- client
    t.board_id, -- board
    t.team_id, -- team of the board
    t.priority_id, -- priority
    t.status_id, -- status now
    t.type_id, -- type
    t.entered_date, -- local day it came in
    t.closed_date, -- local day it was closed
    t.location_id, -- our location
    t.department_id, -- our department
    greatest(t.changed_at, any_member.synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock; or any member did
from {{reporting}}.fct_ticket t
cross join lateral (
    select distinct lower(btrim(login.name)) as identifier
    from unnest(string_to_array(t.resources, ',')) as login (name)
    where btrim(login.name) <> ''
) resource
left join (
    select lower(identifier) as identifier, min(id) as id from {{source}}.system_members group by 1
) m on m.identifier = resource.identifier
-- of any: a member who is renamed leaves the rows that had the old name
cross join (select max(_synced_at) as synced_at from {{source}}.system_members) any_member
