-- One row per live expense entry. Sources: expense/entries.
select
    e.id as expense_id, -- ConnectWise id
    coalesce(company.id, -1) as company_id, -- client
    coalesce(member.id, -1) as member_id, -- who spent it
    coalesce(agreement.id, -1) as agreement_id, -- agreement
    coalesce(project.id, -1) as project_id, -- project
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    e.ticket_id as ticket_id, -- ticket
    e.invoice_id as invoice_id, -- invoice it is on
    e.type_name as expense_type, -- type
    e.classification_name as classification, -- who paid: Personal or Company
    e.date as date, -- day it was spent
    coalesce(to_char(e.date, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    e.billable_option as billable_option, -- Billable, DoNotBill, NoCharge or NoDefault
    coalesce(e.billable_option = 'Billable', false) as is_billable, -- billable_option is Billable
    coalesce(e.amount, 0) as cost, -- what it cost us
    case when e.billable_option = 'Billable' then coalesce(e.invoice_amount, 0) else 0 end as revenue, -- amount billed for it beside agreements
    coalesce(e.agreement_amount, 0) as agreement_amount, -- amount an agreement covered
    e.invoice_id is not null as is_invoiced, -- on an invoice
    coalesce(e.billable_option = 'Billable', false) and e.invoice_id is null
        and coalesce(e.status not in ('Billed', 'BilledAgreement', 'WrittenOff'), true)
        and (coalesce(e.agreement_amount, 0) = 0 or coalesce(e.invoice_amount, 0) <> 0) as is_unbilled, -- billable, on no invoice, not written off and not covered by an agreement
    e.status as status, -- Open, Billed, …
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    greatest(e._synced_at, company._synced_at, member._synced_at, agreement._synced_at, project._synced_at, currency._synced_at, location._synced_at, department._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.expense_entries e
left join {{source}}.company_companies company on company.id = e.company_id
left join {{source}}.system_members member on member.id = e.member_id
left join {{source}}.finance_agreements agreement on agreement.id = e.agreement_id
left join {{source}}.project_projects project on project.id = e.project_id
left join {{source}}.finance_currencies currency on currency.id = e.currency_id
left join {{source}}.system_locations location on location.id = e.location_id
left join {{source}}.system_departments department on department.id = e.business_unit_id
where e._deleted_at is null
