-- One row per block of 512 ids of time entries: how many have what kpi_data_readiness looks for, which is
-- what reports should read. Sources: fct_time_entry_all, system/members.
select
    e.entry_block as entry_block, -- the time entry's id divided by 512
    count(*) as entries, -- time entries
    count(*) filter (where e.cost_basis = 'none') as without_cost, -- of these, with hours that cost nothing
    count(*) filter (where m.id is null) as of_unlisted_members, -- of these, of members that are not listed
    count(*) filter (where e.is_billable) as billable, -- of these, billable
    count(*) filter (where e.is_billable and e.hourly_rate = 0) as billable_without_rate -- of the billable, without a rate
from {{reporting}}.fct_time_entry_all e
left join {{source}}.system_members m on m.id = e.member_id
where not e.is_deleted and {{only by index: e.entry_block}}
group by 1
