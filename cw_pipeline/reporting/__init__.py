"""The reporting schema: what SQL files say becomes views and tables that BI tools read.

sql/reporting/*.sql ──script──► Script ──apply──► views and empty tables ──refresh──► tables
                                                                          page ──► one HTML file
"""

from cw_pipeline.reporting.access import Sight as Sight
from cw_pipeline.reporting.access import grant_client as grant_client
from cw_pipeline.reporting.as_of import as_of_schema as as_of_schema
from cw_pipeline.reporting.as_of import fill_as_of as fill_as_of
from cw_pipeline.reporting.as_of import hide_in_as_of as hide_in_as_of
from cw_pipeline.reporting.foreign_keys import facts as facts
from cw_pipeline.reporting.foreign_keys import missing_dimension_rows as missing_dimension_rows
from cw_pipeline.reporting.publish import READER as READER
from cw_pipeline.reporting.publish import grant_reader as grant_reader
from cw_pipeline.reporting.publish import publish as publish
from cw_pipeline.reporting.script import column_lineage as column_lineage
from cw_pipeline.reporting.script import column_types as column_types
from cw_pipeline.reporting.script import entities as entities
from cw_pipeline.reporting.script import kept_tables as kept_tables
from cw_pipeline.reporting.script import lineage as lineage
from cw_pipeline.reporting.script import reporting_schema as reporting_schema
from cw_pipeline.reporting.script import tables_reading as tables_reading
from cw_pipeline.reporting.tables import Refreshed as Refreshed
from cw_pipeline.reporting.tables import refresh as refresh
from cw_pipeline.reporting.tables import refresh_published as refresh_published
from cw_pipeline.reporting.tables import refresh_times as refresh_times
from cw_pipeline.reporting.tables import tables_behind as tables_behind
