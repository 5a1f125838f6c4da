-- index: time_entry_id
-- index: member_id, work_date
-- index: company_id, work_month
-- index: work_date_id
-- index: entry_block
-- index: ticket_id
-- index: agreement_id
-- index: project_id where project_id is not null
-- index: invoice_id
-- index: changed_at
-- index: work_month where work_month is null and work_date is not null
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
union
-- rows that a process of a version without these columns has written since the upgrade
select time_entry_id from {{reporting}}.fct_time_entry_all where work_month is null and work_date is not null
union
select time_entry_id from {{reporting}}.fct_time_entry_all where entry_block is null
