-- One row per vendor, currency and age: what was ordered and has not come yet, as of today. Source:
-- fct_purchase_order_line.
select
    vendor_id, -- vendor, in dim_company
    currency_id, -- currency of the amounts
    case
        when age_days <= 7 then '0-7' when age_days <= 30 then '8-30' when age_days <= 90 then '31-90' else '91+'
    end as age_bucket, -- days since it was ordered: 0-7, 8-30, 31-90 or 91+, also without a date
    count(distinct purchase_order_id) as purchase_orders, -- orders with lines still to be received
    count(*) as lines, -- their lines
    sum(cost_open) as cost_open, -- cost of what has not come
    min(date) as oldest_date -- day of the oldest order
from {{reporting}}.fct_purchase_order_line
where is_open
group by 1, 2, 3
