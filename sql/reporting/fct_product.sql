-- One row per live product line: sold on a ticket, project, order, agreement or invoice. Cancelled
-- lines are left out. Sources: procurement/products, finance/invoices.
select
    p.id as product_line_id, -- ConnectWise id
    coalesce(catalog.id, -1) as product_id, -- item of the catalog
    coalesce(company.id, -1) as company_id, -- client
    coalesce(agreement.id, -1) as agreement_id, -- agreement
    coalesce(project.id, -1) as project_id, -- project
    p.ticket_id as ticket_id, -- ticket
    p.opportunity_id as opportunity_id, -- opportunity
    p.sales_order_id as sales_order_id, -- sales order
    p.invoice_id as invoice_id, -- invoice it is on
    coalesce(case when i._deleted_at is null then i.date end, p.invoice_invoice_date) as invoice_date, -- day of that invoice
    p.purchase_date as purchase_date, -- day it was bought
    coalesce(to_char(coalesce(case when i._deleted_at is null then i.date end, p.invoice_invoice_date), 'YYYYMMDD')::int, -1) as invoice_date_id, -- day of the invoice, in dim_date
    coalesce(to_char(p.purchase_date, 'YYYYMMDD')::int, -1) as purchase_date_id, -- day it was bought, in dim_date
    coalesce(agreement.currency_id, company.currency_id, -1) as currency_id, -- currency of the amounts: the agreement's, else the client's
    p.description as description, -- text of the line
    coalesce(p.quantity, 0) - coalesce(p.quantity_cancelled, 0) as quantity, -- pieces, cancelled ones taken off
    p.billable_option as billable_option, -- Billable, DoNotBill or NoCharge
    coalesce(p.billable_option = 'Billable', false) as is_billable, -- billable_option is Billable
    case when p.billable_option = 'Billable' then coalesce(p.ext_price, 0) else 0 end as revenue, -- price of the line; none unless billable
    coalesce(p.ext_cost, 0) as cost, -- cost of the line
    p.invoice_id is not null as is_invoiced, -- on an invoice
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    greatest(p._synced_at, i._synced_at, catalog._synced_at, company._synced_at, agreement._synced_at, project._synced_at, location._synced_at, department._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.procurement_products p
left join {{source}}.finance_invoices i on i.id = p.invoice_id
left join {{source}}.procurement_catalog catalog on catalog.id = p.catalog_item_id
left join {{source}}.company_companies company on company.id = p.company_id
left join {{source}}.finance_agreements agreement on agreement.id = p.agreement_id
left join {{source}}.project_projects project on project.id = p.project_id
left join {{source}}.system_locations location on location.id = coalesce(p.location_ref_id, p.location_id)
left join {{source}}.system_departments department on department.id = coalesce(p.business_unit_ref_id, p.business_unit_id)
where p._deleted_at is null and not coalesce(p.cancelled_flag, false)
