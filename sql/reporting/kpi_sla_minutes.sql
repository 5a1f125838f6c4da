-- One row for the tenant: how minutes of SLA stages are taken, and since when. kpi_sla_reading is computed
-- anew each day; this row moves only when the way to take them does. Source: kpi_sla_reading.
select
    taken_as, -- per stage or cumulative
    now() as changed_at -- when any column of this row last changed, by the warehouse's clock
from {{reporting}}.kpi_sla_reading
