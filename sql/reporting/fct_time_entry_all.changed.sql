-- index: time_entry_id
-- index: member_id, work_date
-- index: company_id, work_month
-- index: work_date_id
-- index: ticket_id
-- index: agreement_id
-- index: invoice_id
-- index: changed_at
select e.id as time_entry_id from {{source}}.time_entries e where e._synced_at >= {{since}}
union
-- costs and utilization come from these
select e.id
from {{source}}.time_entries e
join {{source}}.system_members m on m.id = e.member_id
where m._synced_at >= {{since}}
union
select e.id
from {{source}}.time_entries e
join {{source}}.time_work_types t on t.id = e.work_type_id
where t._synced_at >= {{since}}
