-- One row per client, currency and month: monthly recurring revenue at its end, as recorded, and what moved
-- it since the end of the month before: mrr_before and all movements add up to mrr. An agreement that goes to
-- another client is a transfer, in another currency a move between currencies, both at the old amount; what
-- is left is one net movement a client, currency and month: a client that swaps one agreement for another
-- neither churns nor is new. Source: fct_mrr_month.
with held as (
    select agreement_id, company_id, currency_id, billing_cycle_id, month, mrr
    from {{reporting}}.fct_mrr_month
    where mrr <> 0
),
-- Each agreement's month beside the month before it.
pairs as (
    select
        coalesce(n.month, (b.month + interval '1 month')::date) as month,
        b.company_id as old_company, b.currency_id as old_currency, coalesce(b.mrr, 0) as old,
        n.company_id as new_company, n.currency_id as new_currency, coalesce(n.mrr, 0) as new,
        b.billing_cycle_id <> n.billing_cycle_id as is_retermed
    from held n
    full join held b on b.agreement_id = n.agreement_id and b.month = (n.month - interval '1 month')::date
    where coalesce(n.month, (b.month + interval '1 month')::date) <= date_trunc('month', now() at time zone {{time_zone}})
),
flows as (
    -- what was there
    select month, old_company as company_id, old_currency as currency_id, old as before, 0 as mrr,
        case when old_company <> new_company and old_currency = new_currency then -old else 0 end as transfer,
        case when old_currency <> new_currency then -old else 0 end as currency,
        0 as retermed, 0 as restated
    from pairs where old_company is not null
    union all
    -- what is there
    select month, new_company, new_currency, 0, new,
        case when old_company <> new_company and old_currency = new_currency then old else 0 end,
        case when old_currency <> new_currency then new else 0 end,
        case when is_retermed then 1 else 0 end, 0
    from pairs where new_company is not null
    union all
    select month, company_id, currency_id, 0, 0, 0, 0, 0, mrr_restated
    from {{reporting}}.fct_mrr_month where mrr_restated <> 0
),
-- A client comes and goes with all of its currencies. Joined with nothing by month, so that a report's
-- months are all that is added up.
moved as (
    select
        company_id, currency_id, month,
        sum(before) as before, sum(mrr) as mrr, sum(transfer) as transfer, sum(currency) as currency, sum(retermed) as retermed,
        sum(restated) as restated,
        sum(mrr) - sum(before) - sum(transfer) - sum(currency) as rest,
        bool_or(sum(before) + sum(transfer) + sum(currency) <> 0) over client as was_there,
        bool_or(sum(mrr) <> 0) over client as is_there
    from flows
    group by 1, 2, 3
    window client as (partition by company_id, month)
),
first_months as (
    select company_id, min(month) as first_month from held group by 1
),
bases as (
    select month, min(basis) as basis, bool_and(is_closed) as is_closed from {{reporting}}.fct_mrr_month group by 1
)
select
    company_id, -- client
    currency_id, -- currency of the amounts
    month, -- first day of the month
    to_char(month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    m.mrr as mrr, -- monthly recurring revenue at the end of the month, as recorded
    12 * m.mrr as arr, -- the same a year
    m.before as mrr_before, -- at the end of the month before
    case when not m.was_there and f.first_month = month then m.rest else 0 end as mrr_new, -- of clients that never had any
    case when not m.was_there and f.first_month <> month then m.rest else 0 end as mrr_reactivation, -- of clients that had none in the month before, but earlier
    case when m.was_there and m.is_there and m.rest > 0 then m.rest else 0 end as mrr_expansion, -- more than before
    case when m.was_there and m.is_there and m.rest < 0 then m.rest else 0 end as mrr_contraction, -- less than before: negative
    case when m.was_there and not m.is_there then m.rest else 0 end as mrr_churn, -- of clients that have none any more: negative
    m.transfer as mrr_transfer, -- of agreements that went to another client (negative there) or came from one; all clients' add up to 0
    m.currency as mrr_currency, -- of agreements that changed their currency: out of the old one (negative), into the new one
    m.retermed as agreements_retermed, -- agreements whose billing cycle changed; what that changed in a month's amount is in the movements
    m.restated as mrr_restated, -- what today's records say about the end of that month
    m.restated - m.mrr as mrr_correction, -- restated less recorded: what was changed about the month after it was closed
    b.basis, -- as recorded; or as restated, for months before versions were kept
    b.is_closed -- the month is closed: nothing but mrr_restated and mrr_correction changes any more
from moved m
left join first_months f using (company_id)
left join bases b using (month)
where m.mrr <> 0 or m.before <> 0 or m.restated <> 0 or m.transfer <> 0 or m.currency <> 0
