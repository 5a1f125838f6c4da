-- One row per live line of a purchase order, cancelled lines left out. Sources: procurement/purchaseorders,
-- procurement/purchaseorders/lineitems.
select
    l.parent_id as purchase_order_id, -- purchase order
    l.id as purchase_order_line_id, -- ConnectWise id
    o.po_number as purchase_order_number, -- number on the paper
    coalesce(vendor.id, -1) as vendor_id, -- vendor, in dim_company
    coalesce(customer.id, -1) as company_id, -- client it is shipped to; -1: into a warehouse
    coalesce(catalog.id, -1) as product_id, -- item of the catalog
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    coalesce(l.warehouse_name, o.warehouse_name) as warehouse, -- where it goes
    o.status_name as status, -- status of the order
    l.description as description, -- text of the line
    o.po_date as date, -- day of the order
    coalesce(to_char(o.po_date, 'YYYYMMDD')::int, -1) as date_id, -- the same, in dim_date
    l.expected_ship_date as expected_ship_date, -- day it is expected to be shipped
    l.date_received as received_date, -- day it was received
    coalesce(l.quantity, 0) as quantity, -- pieces ordered
    coalesce(l.received_quantity, 0) as quantity_received, -- pieces received
    coalesce(l.unit_cost, 0) as unit_cost, -- cost of a piece
    coalesce(l.ext_cost, l.quantity * l.unit_cost, 0) as cost, -- cost of the line
    greatest(coalesce(l.quantity, 0) - coalesce(l.received_quantity, 0), 0) * coalesce(l.unit_cost, 0) as cost_open, -- of it, not received yet
    not coalesce(l.closed_flag, false) and not coalesce(o.closed_flag, false)
        and coalesce(l.received_quantity, 0) < coalesce(l.quantity, 0) as is_open, -- still to be received
    (now() at time zone {{time_zone}})::date - o.po_date as age_days, -- since it was ordered, today
    coalesce(location.id, -1) as location_id, -- our location
    coalesce(department.id, -1) as department_id, -- our department
    greatest(l._synced_at, o._synced_at, vendor._synced_at, customer._synced_at, catalog._synced_at, currency._synced_at, location._synced_at, department._synced_at, date_trunc('day', now(), {{time_zone}})) as changed_at -- when any column of this row last changed, by the warehouse's clock; at least each day, for its age
from {{source}}.procurement_purchaseorders_lineitems l
join {{source}}.procurement_purchaseorders o on o.id = l.parent_id and o._deleted_at is null
left join {{source}}.company_companies vendor on vendor.id = o.vendor_company_id
left join {{source}}.company_companies customer on customer.id = o.customer_company_id
left join {{source}}.procurement_catalog catalog on catalog.id = l.product_id
left join {{source}}.finance_currencies currency on currency.id = o.currency_id
left join {{source}}.system_locations location on location.id = coalesce(o.location_ref_id, o.location_id)
left join {{source}}.system_departments department on department.id = coalesce(o.business_unit_ref_id, o.business_unit_id)
where l._deleted_at is null and not coalesce(l.canceled_flag, false)
