-- One row per value that a tracked column had and has no more: of tickets, agreements, additions, invoices,
-- opportunities, time, and of what CW_HISTORY_COLUMNS names. The present value is in the record's own row.
-- Source: the history kept with every merge.
select
    history_id as change_id, -- number of the change
    entity as entity, -- list the record is in, service/tickets for example
    record_id as record_id, -- ConnectWise id
    nullif(parent_id, 0) as parent_id, -- id of the parent, of children
    column_name as attribute, -- column
    value as value, -- what it said, as text
    valid_from as valid_from, -- since when; empty: since before it was watched
    valid_to as valid_to -- until when, by the record's own stamp
from cw_sync.history
where tenant = {{tenant}}
