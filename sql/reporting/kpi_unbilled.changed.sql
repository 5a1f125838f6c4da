-- index: company_id
with concerned as (
    select id as company_id from {{source}}.company_companies where _synced_at >= {{since}}
    union
    {{work changed: company_id}}
    union
    -- the currency of an agreement is that of what is done under it
    select e.company_id
    from {{source}}.finance_agreements a join {{reporting}}.fct_time_entry_all e on e.agreement_id = a.id
    where a._synced_at >= {{since}} and e.is_unbilled
    union
    select p.company_id
    from {{source}}.finance_agreements a join {{source}}.procurement_products p on p.agreement_id = a.id
    where a._synced_at >= {{since}}
    union
    -- whose work is on tickets that may be on another board now
    select e.company_id
    from {{reporting}}.fct_ticket_all t join {{reporting}}.fct_time_entry_all e on e.ticket_id = t.ticket_id
    where t.changed_at > {{since}} and e.is_unbilled
    union
    select e.company_id
    from {{reporting}}.fct_ticket_all t join {{source}}.expense_entries e on e.ticket_id = t.ticket_id
    where t.changed_at > {{since}}
    union
    select p.company_id
    from {{reporting}}.fct_ticket_all t join {{source}}.procurement_products p on p.ticket_id = t.ticket_id
    where t.changed_at > {{since}}
    union
    -- ages depend on the day; boards, departments and locations may have just come
    select company_id from {{reporting}}.kpi_unbilled
    where ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
       or exists (select from {{source}}.service_boards where _synced_at >= {{since}})
       or exists (select from {{source}}.system_departments where _synced_at >= {{since}})
       or exists (select from {{source}}.system_locations where _synced_at >= {{since}})
       or exists (select from {{source}}.finance_currencies where _synced_at >= {{since}})
)
select company_id from concerned where company_id is not null
union
-- who is not listed, or has just come, is or was the unknown client
select -1 where exists (select from concerned)
