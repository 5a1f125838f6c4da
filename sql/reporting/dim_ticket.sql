-- One row per service and project ticket, for facts that name one: time, expenses, invoices, surveys. Such
-- a fact has no ticket where it is about none, so join it outer. Figures of tickets are in fct_ticket.
-- Source: fct_ticket_all.
select
    t.ticket_id as ticket_id, -- ConnectWise's ticket number; -1 is the unknown member
    '#' || t.ticket_id || coalesce(' ' || t.summary, '') as ticket_label, -- #123 Printer is jammed
    t.summary as summary, -- first line
    t.record_type as record_type, -- ServiceTicket, ProjectTicket or ProjectIssue
    coalesce(company.id, -1) as company_id, -- client
    t.entered_date as entered_date, -- local day it came in
    t.closed_date as closed_date, -- local day it was closed
    t.is_closed as is_closed, -- closed now
    t.is_merged as is_merged, -- merged into another
    t.is_deleted as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    greatest(t.changed_at, company._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_ticket_all t
left join {{source}}.company_companies company on company.id = t.company_id
union all
select -1, 'Unknown', 'Unknown', null, -1, null, null, false, false, false, null
