-- One row per live product line, ids as ConnectWise gave them. fct_product is what reports should read.
-- Cancelled lines are left out. Sources: procurement/products, finance/invoices.
select
    p.id as product_line_id, -- ConnectWise id
    p.catalog_item_id as product_id, -- item of the catalog
    p.company_id as company_id, -- client
    billed.date as invoice_date, -- day of the invoice
    p.purchase_date as purchase_date, -- day it was bought
    date_trunc('month', coalesce(billed.date, p.purchase_date)::timestamp)::date as month, -- first day of the month of the invoice, else of the purchase
    coalesce(to_char(billed.date, 'YYYYMMDD')::int, -1) as invoice_date_id, -- day of the invoice, in dim_date
    coalesce(to_char(p.purchase_date, 'YYYYMMDD')::int, -1) as purchase_date_id, -- day it was bought, in dim_date
    p.agreement_id as agreement_id, -- agreement
    p.project_id as project_id, -- project
    p.ticket_id as ticket_id, -- ticket
    p.opportunity_id as opportunity_id, -- opportunity
    p.sales_order_id as sales_order_id, -- sales order
    p.invoice_id as invoice_id, -- invoice it is on
    coalesce(p.location_ref_id, p.location_id) as location_id, -- our location
    coalesce(p.business_unit_ref_id, p.business_unit_id) as department_id, -- our department
    coalesce(p.quantity, 0) - coalesce(p.quantity_cancelled, 0) as quantity, -- pieces, cancelled ones taken off
    coalesce(p.billable_option = 'Billable', false) as is_billable, -- billable_option is Billable
    case when p.billable_option = 'Billable' then coalesce(p.ext_price, 0) else 0 end as revenue, -- price of the line; none unless billable
    coalesce(p.ext_cost, 0) as cost, -- cost of the line
    p.billable_option as billable_option, -- Billable, DoNotBill or NoCharge
    p.description as description, -- text of the line
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.procurement_products p
left join {{source}}.finance_invoices i on i.id = p.invoice_id
cross join lateral (
    select coalesce(case when i._deleted_at is null then i.date end, p.invoice_invoice_date) as date
) billed
where p._deleted_at is null and not coalesce(p.cancelled_flag, false) and {{only: p.id}}
