-- One row per live addition to an agreement: what is billed with it, by the piece. Sources:
-- finance/agreements/additions, finance/agreements, finance/billingCycles.
select
    x.id as addition_id, -- ConnectWise id
    x.parent_id as agreement_id, -- agreement
    coalesce(company.id, -1) as company_id, -- client
    coalesce(catalog.id, -1) as product_id, -- item of the catalog
    coalesce(currency.id, -1) as currency_id, -- currency of the agreement
    x.description as description, -- text
    coalesce(x.quantity, 0) as quantity, -- pieces
    coalesce(x.less_included, 0) as quantity_included, -- of these, included in the agreement's own price
    x.bill_customer as billable_option, -- Billable, DoNotBill or NoCharge
    x.effective_date as starts_on, -- first day; empty: the agreement's
    x.cancelled_date as cancelled_on, -- first day it no longer runs; empty: as long as the agreement
    coalesce(c.is_recurring, true) and not coalesce(a.one_time_flag, false) and not coalesce(a.bill_one_time_flag, false) as is_recurring, -- billed again and again
    c.months as months_per_bill, -- months that one bill covers; empty: bills once, or an unknown cycle, counted as monthly
    bill.price as price_per_bill, -- amount of one bill; none unless billable
    bill.cost as cost_per_bill, -- cost of what one bill covers, billed or not
    bill.price / coalesce(c.months, 1) as monthly_price, -- amount a month
    bill.cost / coalesce(c.months, 1) as monthly_cost, -- cost a month
    greatest(x._synced_at, a._synced_at, cycle._synced_at, company._synced_at, catalog._synced_at, currency._synced_at) as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{source}}.finance_agreements_additions x
join {{source}}.finance_agreements a on a.id = x.parent_id and a._deleted_at is null
left join {{reporting}}.dim_billing_cycle c on c.billing_cycle_id = a.billing_cycle_id
left join {{source}}.finance_billing_cycles cycle on cycle.id = a.billing_cycle_id
left join {{source}}.company_companies company on company.id = a.company_id
left join {{source}}.procurement_catalog catalog on catalog.id = x.product_id
left join {{source}}.finance_currencies currency on currency.id = a.currency_id
cross join lateral (
    select
        case when x.bill_customer = 'Billable'
            then coalesce(x.ext_price, (x.quantity - coalesce(x.less_included, 0)) * x.unit_price, 0) else 0 end as price,
        coalesce(x.ext_cost, x.quantity * x.unit_cost, 0) as cost
) bill
where x._deleted_at is null
