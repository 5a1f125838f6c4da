-- index: project_id
with work as (
    {{work changed: project_id}}
)
select id as project_id from {{source}}.project_projects where _synced_at >= {{since}}
union
select project_id from work where project_id is not null
union
select project_id from {{reporting}}.fct_invoice_all where changed_at > {{since}} and project_id is not null
union
-- what an invoice billed before it was moved, or deleted
select coalesce(project_id, case when apply_to_type = 'Project' then apply_to_id end)
from (
    select project_id, apply_to_type, apply_to_id from {{source}}.finance_invoices where _synced_at >= {{since}}
    union all
    select project_id, apply_to_type, apply_to_id from {{history}}.finance_invoices where _recorded_to >= {{since}}
) billed
where coalesce(project_id, case when apply_to_type = 'Project' then apply_to_id end) is not null
union
-- work and products are in the currency of their agreement, else of their client
select e.project_id
from {{source}}.finance_agreements a join {{reporting}}.fct_time_entry_all e on e.agreement_id = a.id
where a._synced_at >= {{since}} and e.project_id is not null
union
select e.project_id
from {{source}}.company_companies c join {{reporting}}.fct_time_entry_all e on e.company_id = c.id
where c._synced_at >= {{since}} and e.project_id is not null
union
select p.project_id
from {{source}}.finance_agreements a join {{reporting}}.fct_product_all p on p.agreement_id = a.id
where a._synced_at >= {{since}} and p.project_id is not null
union
select p.project_id
from {{source}}.company_companies c join {{reporting}}.fct_product_all p on p.company_id = c.id
where c._synced_at >= {{since}} and p.project_id is not null
union
-- clients and leaders who have just come; all, where a currency has
select p.id
from {{source}}.project_projects p
where exists (select from {{source}}.company_companies c where c.id = p.company_id and c._synced_at >= {{since}})
   or exists (select from {{source}}.system_members m where m.id = p.manager_id and m._synced_at >= {{since}})
   or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
union
-- how late an open project is depends on the day
select id
from {{source}}.project_projects
where ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
  and not coalesce(closed_flag, false)
