-- One row per line of an opportunity's forecast. Sources: sales/opportunities/forecast,
-- sales/opportunities.
select
    i.id as forecast_item_id, -- ConnectWise id
    f.parent_id as opportunity_id, -- opportunity
    coalesce(catalog.id, -1) as product_id, -- item of the catalog
    coalesce(currency.id, -1) as currency_id, -- currency of the amounts
    i.forecast_type as forecast_type, -- Agreement, Product, Service, Other1 or Other2
    i.forecast_description as description, -- text
    coalesce(i.include_flag, true) as is_included, -- counts in the forecast
    i.quantity as quantity, -- pieces
    coalesce(i.revenue, 0) as revenue, -- revenue of the line
    coalesce(i.cost, 0) as cost, -- cost of the line
    coalesce(i.recurring_flag, false) as is_recurring, -- comes again and again
    coalesce(i.recurring_revenue, 0) as recurring_revenue, -- revenue of one recurrence
    coalesce(company.id, -1) as company_id, -- client or prospect
    greatest(f._synced_at, o._synced_at, company._synced_at, catalog._synced_at, currency._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.sales_opportunities_forecast f
join {{source}}.sales_opportunities_forecast__forecast_items i on i.parent_id = f.id and i._deleted_at is null
join {{source}}.sales_opportunities o on o.id = f.parent_id and o._deleted_at is null
left join {{source}}.company_companies company on company.id = o.company_id
left join {{source}}.procurement_catalog catalog on catalog.id = i.catalog_item_id
left join {{source}}.finance_currencies currency on currency.id = f.currency_id
where f._deleted_at is null
