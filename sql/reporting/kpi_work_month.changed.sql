-- index: month
-- index: member_id
select date_trunc('month', time_start at time zone {{time_zone}})::date as month
from {{source}}.time_entries where _synced_at >= {{since}} and time_start is not null
union
-- the month that an entry was moved away from
select date_trunc('month', time_start at time zone {{time_zone}})::date
from {{history}}.time_entries where _recorded_to >= {{since}} and time_start is not null
union
-- costs come from members
select date_trunc('month', e.work_date::timestamp)::date
from {{source}}.system_members m
join {{reporting}}.fct_time_entry_all e on e.member_id = m.id
where m._synced_at >= {{since}} and e.work_date is not null
union
select month from {{reporting}}.kpi_work_month
where exists (select from {{source}}.time_work_types where _synced_at >= {{since}})
   or exists (select from {{source}}.time_charge_codes where _synced_at >= {{since}})
union
select month from {{reporting}}.kpi_work_month
where exists (select from {{source}}.system_locations where _synced_at >= {{since}})
   or exists (select from {{source}}.system_departments where _synced_at >= {{since}})
