select where
    (select taken_as from {{reporting}}.kpi_sla_reading) is distinct from (select taken_as from {{reporting}}.kpi_sla_minutes)
