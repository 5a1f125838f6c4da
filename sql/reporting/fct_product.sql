-- One row per live product line: sold on a ticket, project, order, agreement or invoice. Cancelled
-- lines are left out. Source: fct_product_all.
select
    p.product_line_id, -- ConnectWise id
    coalesce(catalog.id, -1) as product_id, -- item of the catalog
    coalesce(company.id, -1) as company_id, -- client
    coalesce(agreement.id, -1) as agreement_id, -- agreement
    coalesce(project.id, -1) as project_id, -- project
    p.ticket_id, -- ticket
    p.opportunity_id, -- opportunity
    p.sales_order_id, -- sales order
    p.invoice_id, -- invoice it is on
    p.invoice_date, -- day of that invoice
    p.purchase_date, -- day it was bought
    p.invoice_date_id, -- day of the invoice, in dim_date
    p.purchase_date_id, -- day it was bought, in dim_date
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts: the agreement's, else the client's
    p.description, -- text of the line
    p.quantity, -- pieces, cancelled ones taken off
    p.billable_option, -- Billable, DoNotBill or NoCharge
    p.is_billable, -- billable_option is Billable
    p.revenue, -- price of the line; none unless billable
    p.cost, -- cost of the line
    p.invoice_id is not null as is_invoiced, -- on an invoice
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    greatest(p.changed_at, catalog._synced_at, company._synced_at, agreement._synced_at, project._synced_at, location._synced_at, department._synced_at, currency._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.fct_product_all p
left join {{source}}.procurement_catalog catalog on catalog.id = p.product_id
left join {{source}}.company_companies company on company.id = p.company_id
left join {{source}}.finance_agreements agreement on agreement.id = p.agreement_id
left join {{source}}.finance_currencies currency on currency.id = coalesce(agreement.currency_id, company.currency_id)
left join {{source}}.project_projects project on project.id = p.project_id
left join {{source}}.system_locations location on location.id = p.location_id
left join {{source}}.system_departments department on department.id = p.department_id
