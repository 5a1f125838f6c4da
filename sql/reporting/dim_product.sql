-- One row per item of the product catalog. Source: procurement/catalog.
select
    id as product_id, -- ConnectWise id; -1 is the unknown member
    identifier as product_identifier, -- part number
    description as product_name, -- description
    category_name as category, -- category
    subcategory_name as subcategory, -- subcategory
    manufacturer_name as manufacturer, -- manufacturer
    product_class as product_class, -- Inventory, NonInventory, Agreement, Service or Bundle
    coalesce(recurring_flag, false) as is_recurring, -- billed again and again
    coalesce(inactive_flag, false) as is_inactive, -- set inactive in ConnectWise
    _deleted_at is not null as is_deleted, -- no longer in ConnectWise; kept so that old facts keep their names
    _synced_at as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.procurement_catalog
union all
select -1, 'Unknown', 'Unknown', null, null, null, null, false, false, false, null
