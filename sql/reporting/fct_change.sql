-- One row per value that an attribute of a record had and has no more: of tickets, time entries,
-- agreements, additions, invoices and opportunities. The present value is in the record's own row; whole
-- versions are in tables like service_tickets__versions. Source: fct_change_all.
select
    c.change_id, -- tells the change from others
    c.entity, -- list the record is in, service/tickets for example
    c.record_id, -- ConnectWise id
    nullif(c.parent_id, 0) as parent_id, -- id of the parent, of children
    c.attribute, -- column
    c.value, -- what it said, as text
    c.valid_from, -- since when; empty: since before it was watched
    c.valid_to, -- until when, by the record's own stamp
    coalesce(company.id, -1) as company_id, -- client of the record now
    coalesce(location.id, -1) as location_id, -- our location now
    coalesce(department.id, -1) as department_id, -- our department now
    greatest(c.changed_at, company._synced_at, location._synced_at, department._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_change_all c
left join {{source}}.company_companies company on company.id = c.company_id
left join {{source}}.system_locations location on location.id = c.location_id
left join {{source}}.system_departments department on department.id = c.department_id
