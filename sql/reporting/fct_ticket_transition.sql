-- One row per change of a ticket that was seen: which column, from what, to what, when. Changes between
-- two reads of ConnectWise show as one. Source: the history kept with every merge.
select
    h.record_id as ticket_id, -- ticket
    h.entity as entity, -- service/tickets or project/tickets
    h.column_name as attribute, -- status_id, board_id, owner_id, priority_id, company_id, closed_flag, closed_date, …
    h.value as from_value, -- before
    case
        when lead(h.history_id) over w is not null then lead(h.value) over w
        when h.column_name = 'status_id' then t.status_id::text
        when h.column_name = 'board_id' then t.board_id::text
        when h.column_name = 'owner_id' then t.owner_id::text
        when h.column_name = 'priority_id' then t.priority_id::text
        when h.column_name = 'company_id' then t.company_id::text
        when h.column_name = 'closed_flag' then t.is_closed::text
    end as to_value, -- after; empty for columns chosen by setting that have not changed again
    h.valid_to as changed_at, -- when, by the record's own stamp
    (h.valid_to at time zone {{time_zone}})::date as changed_date, -- local day of it
    coalesce(h.column_name = 'closed_flag' and h.value = 'true', false) as is_reopening -- closed before, open after
from cw_sync.history h
join {{reporting}}.fct_ticket_all t on t.ticket_id = h.record_id and not t.is_deleted
where h.tenant = {{tenant}} and h.entity in ('service/tickets', 'project/tickets')
window w as (partition by h.entity, h.record_id, h.column_name order by h.valid_to, h.history_id)
