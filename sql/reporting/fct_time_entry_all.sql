-- One row per time entry, deleted ones included, ids as ConnectWise gave them. fct_time_entry is what
-- reports should read. Sources: time/entries, system/members, time/workTypes.
select
    e.id as time_entry_id, -- ConnectWise id
    e.id / 512 as entry_block, -- its id / 512: what changes of a block is counted anew
    e._deleted_at is not null as is_deleted, -- no longer in ConnectWise
    e.ticket_id as ticket_id, -- ticket it was spent on, if any
    e.company_id as company_id, -- client
    e.member_id as member_id, -- who worked
    e.agreement_id as agreement_id, -- agreement it is done under
    e.project_id as project_id, -- project
    e.phase_id as phase_id, -- phase of the project
    e.charge_to_type as charge_to_type, -- Company, ServiceTicket, ProjectTicket, ChargeCode or Activity
    case when e.charge_to_type = 'ChargeCode' then e.charge_to_id end as charge_code_id, -- charge code, of internal time
    e.work_type_id as work_type_id, -- work type
    e.work_role_id as work_role_id, -- work role
    e.location_ref_id as location_id, -- our location
    e.department_id as department_id, -- our department
    e.invoice_id as invoice_id, -- invoice it is on
    e.time_start as started_at, -- begin of work
    e.time_end as ended_at, -- end of work
    (e.time_start at time zone {{time_zone}})::date as work_date, -- local day of the begin: work across midnight counts where it began
    coalesce(to_char(e.time_start at time zone {{time_zone}}, 'YYYYMMDD')::int, -1) as work_date_id, -- the same, in dim_date
    e.date_entered as entered_at, -- when it was written down
    extract(epoch from e.date_entered - coalesce(e.time_end, e.time_start))::numeric / 3600 as entered_after_hours, -- from the end of work until it was written down
    e.billable_option as billable_option, -- Billable, DoNotBill, NoCharge or NoDefault
    coalesce(e.billable_option = 'Billable', false) as is_billable, -- billable_option is Billable
    coalesce(t.utilization_flag, false) as is_utilized, -- its work type counts towards utilization
    coalesce(e.actual_hours, 0) as hours_actual, -- hours worked
    coalesce(e.hours_deduct, 0) as hours_deducted, -- breaks, already taken off hours_actual
    case when e.billable_option = 'Billable' then coalesce(e.hours_billed, 0) else 0 end as hours_billed, -- hours rounded and billed; none unless billable
    case when e.billable_option = 'Billable' then greatest(e.hours_billed, coalesce(e.invoice_hours, 0) + coalesce(e.agreement_hours, 0), 0) else 0 end as hours_rounded, -- hours as rounded for billing, to the client or to an agreement; none unless billable
    coalesce(e.invoice_hours, 0) as hours_invoiced, -- hours shown on the invoice
    coalesce(e.agreement_hours, 0) as hours_agreement, -- hours an agreement covered
    coalesce(e.hourly_rate, 0) as hourly_rate, -- price of an hour
    coalesce(nullif(cost.own, 0), m.hourly_cost * coalesce(nullif(t.cost_multiplier, 0), 1)) as hourly_cost, -- cost of an hour: the entry's, else the member's times the work type's multiplier; empty: unknown
    case when cost.own <> 0 then 'entry' when m.hourly_cost <> 0 then 'member' else 'none' end as cost_basis, -- where hourly_cost is from: entry, member or none
    coalesce(e.actual_hours, 0)
        * coalesce(nullif(cost.own, 0), m.hourly_cost * coalesce(nullif(t.cost_multiplier, 0), 1), 0) as labour_cost, -- hours_actual times hourly_cost, whether billed or not
    case when e.billable_option = 'Billable' then coalesce(e.extended_invoice_amount, 0) else 0 end as revenue, -- amount billed for it beside agreements
    coalesce(e.agreement_amount, 0) as agreement_amount, -- amount an agreement covered
    coalesce(e.invoice_flag, false) or e.invoice_id is not null as is_invoiced, -- on an invoice
    coalesce(e.billable_option = 'Billable', false)
        and not coalesce(e.invoice_flag, false) and e.invoice_id is null
        and coalesce(e.status not in ('Billed', 'BilledAgreement', 'WrittenOff'), true)
        and (coalesce(e.agreement_hours, 0) = 0 or coalesce(e.extended_invoice_amount, 0) <> 0) as is_unbilled, -- billable, on no invoice, not written off and not covered by an agreement
    e.status as status, -- Open, ApprovedByTierTwo, Billed, …
    e._synced_at as synced_at, -- when this version came into the warehouse
    date_trunc('month', e.time_start at time zone {{time_zone}})::date as work_month, -- first day of the month of work_date
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.time_entries e
left join {{source}}.system_members m on m.id = e.member_id
left join {{source}}.time_work_types t on t.id = e.work_type_id
-- The cost is a text, and masked or empty where the API member may not see it. Offset 0: it is worked
-- out once, not wherever it is named.
cross join lateral (
    select case when e.hourly_cost ~ '^\s*-?\d+(\.\d+)?\s*$' then e.hourly_cost::numeric end as own
    offset 0
) cost
where {{only: e.id}}
