-- One row per client, currency and month: monthly recurring revenue at its end, and what moved it since
-- the month before. A client that swaps one agreement for another neither churns nor is new. Source:
-- fct_mrr_month.
with held as (
    select company_id, currency_id, month, sum(mrr) as mrr
    from {{reporting}}.fct_mrr_month
    group by 1, 2, 3
),
-- Each month with MRR, and the first one after without.
months as (
    select company_id, currency_id, month from held
    union
    select company_id, currency_id, (month + interval '1 month')::date
    from held
    where (month + interval '1 month')::date <= date_trunc('month', now() at time zone {{time_zone}})
),
moves as (
    select
        k.company_id, k.currency_id, k.month,
        coalesce(h.mrr, 0) as mrr,
        coalesce(b.mrr, 0) as before
    from months k
    left join held h on h.company_id = k.company_id and h.currency_id = k.currency_id and h.month = k.month
    left join held b on b.company_id = k.company_id and b.currency_id = k.currency_id and b.month = (k.month - interval '1 month')::date
)
select
    company_id, -- client
    currency_id, -- currency of the amounts
    month, -- first day of the month
    to_char(month, 'YYYYMMDD')::int as month_id, -- the same, in dim_date
    mrr, -- monthly recurring revenue at the end of the month
    12 * mrr as arr, -- the same a year
    before as mrr_before, -- at the end of the month before
    case when before = 0 then mrr else 0 end as mrr_new, -- of clients that had none
    case when before > 0 and mrr > before then mrr - before else 0 end as mrr_expansion, -- more than before
    case when mrr > 0 and mrr < before then mrr - before else 0 end as mrr_contraction, -- less than before: negative
    case when before > 0 and mrr = 0 then -before else 0 end as mrr_churn -- none any more: negative
from moves
where mrr <> 0 or before <> 0
