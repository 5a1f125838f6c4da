-- One row per live time entry. Every id has its row in its dimension; -1 where there is none. Hours in
-- three bases: worked (actual), billed (rounded), covered by an agreement. Cost is of hours worked,
-- billed or not. Sources: time/entries, system/members, time/workTypes.
select
    e.time_entry_id, -- ConnectWise id
    e.ticket_id, -- ticket it was spent on, if any
    coalesce(company.id, -1) as company_id, -- client
    coalesce(member.id, -1) as member_id, -- who worked
    coalesce(agreement.id, -1) as agreement_id, -- agreement it is done under
    coalesce(project.id, -1) as project_id, -- project
    coalesce(phase.id, -1) as phase_id, -- phase of the project
    coalesce(charge_code.id, -1) as charge_code_id, -- charge code, of internal time
    coalesce(work_type.id, -1) as work_type_id, -- work type
    coalesce(work_role.id, -1) as work_role_id, -- work role
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    coalesce(currency.id, -1) as currency_id, -- currency of revenue and agreement_amount: the agreement's, else the client's
    e.invoice_id, -- invoice it is on
    e.charge_to_type, -- Company, ServiceTicket, ProjectTicket, ChargeCode or Activity
    e.started_at, -- begin of work
    e.ended_at, -- end of work
    e.work_date, -- local day of the begin: work across midnight counts where it began
    e.work_date_id, -- the same, in dim_date
    e.entered_at, -- when it was written down
    e.entered_after_hours, -- from the end of work until it was written down
    e.billable_option, -- Billable, DoNotBill, NoCharge or NoDefault
    e.is_billable, -- billable_option is Billable
    e.is_utilized, -- its work type counts towards utilization
    e.hours_actual, -- hours worked
    e.hours_deducted, -- breaks, already taken off hours_actual
    e.hours_billed, -- hours rounded and billed; none unless billable
    e.hours_rounded, -- hours as rounded for billing, to the client or to an agreement; none unless billable
    e.hours_invoiced, -- hours shown on the invoice
    e.hours_agreement, -- hours an agreement covered
    e.hourly_rate, -- price of an hour
    e.hourly_cost, -- cost of an hour: the entry's, else the member's times the work type's multiplier; empty: unknown
    e.cost_basis, -- where hourly_cost is from: entry, member or none
    e.labour_cost, -- hours_actual times hourly_cost, whether billed or not
    e.revenue, -- amount billed for it beside agreements
    e.agreement_amount, -- amount an agreement covered
    e.is_invoiced, -- on an invoice
    e.is_unbilled, -- billable, on no invoice, not written off and not covered by an agreement
    e.status, -- Open, ApprovedByTierTwo, Billed, …
    e.synced_at, -- when this version came into the warehouse
    greatest(e.changed_at, company._synced_at, member._synced_at, agreement._synced_at, project._synced_at, phase.synced_at, charge_code._synced_at, work_type._synced_at, work_role._synced_at, location._synced_at, department._synced_at, currency._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_time_entry_all e
left join {{source}}.company_companies company on company.id = e.company_id
left join {{source}}.system_members member on member.id = e.member_id
left join {{source}}.finance_agreements agreement on agreement.id = e.agreement_id
left join {{source}}.finance_currencies currency on currency.id = coalesce(agreement.currency_id, company.currency_id)
left join {{source}}.project_projects project on project.id = e.project_id
left join (select id, max(_synced_at) as synced_at from {{source}}.project_projects_phases group by id) phase on phase.id = e.phase_id
left join {{source}}.time_charge_codes charge_code on charge_code.id = e.charge_code_id
left join {{source}}.time_work_types work_type on work_type.id = e.work_type_id
left join {{source}}.time_work_roles work_role on work_role.id = e.work_role_id
left join {{source}}.system_locations location on location.id = e.location_id
left join {{source}}.system_departments department on department.id = e.department_id
where not e.is_deleted
