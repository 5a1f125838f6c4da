-- How a tenant counts does not change from one hour to the next: anew each day, and while it is unclear.
select where
    ({{since}}::timestamptz at time zone {{time_zone}})::date < (now() at time zone {{time_zone}})::date
    or (
        exists (select from {{reporting}}.kpi_sla_reading where reading = 'unclear')
        and exists (select from {{reporting}}.fct_ticket_all where changed_at > {{since}})
    )
