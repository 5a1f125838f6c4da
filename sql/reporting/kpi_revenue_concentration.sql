-- One row per client and currency with revenue in the last 365 local days: how much depends on whom.
-- Revenue before tax, invoices less credits, by invoice date. Source: fct_invoice.
with revenue as (
    select company_id, currency_id, sum(subtotal) as revenue
    from {{reporting}}.fct_invoice
    where date > (now() at time zone {{time_zone}})::date - 365 and date <= (now() at time zone {{time_zone}})::date
    group by 1, 2
    having sum(subtotal) > 0
)
select
    company_id, -- client
    currency_id, -- currency of the amounts
    revenue, -- revenue of the last 365 days
    rank() over of_currency as rank, -- 1: the client with most
    revenue / sum(revenue) over (partition by currency_id) as share, -- of all revenue in the currency
    sum(revenue) over (of_currency rows unbounded preceding) / sum(revenue) over (partition by currency_id) as share_of_larger, -- share of this client and of those with more
    sum(revenue * revenue) over (partition by currency_id) / nullif(power(sum(revenue) over (partition by currency_id), 2), 0) as herfindahl_index -- sum of all clients' squared shares: 1, one client has it all; 0.1, as if ten had the same
from revenue
window of_currency as (partition by currency_id order by revenue desc, company_id)
