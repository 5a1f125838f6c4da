"""Merging rows into Postgres, together with the checkpoint that says so."""

from cw_pipeline.warehouse.database import Connections as Connections
from cw_pipeline.warehouse.database import Database as Database
from cw_pipeline.warehouse.entity_store import EntityStore as EntityStore
from cw_pipeline.warehouse.entity_store import open_store as open_store
from cw_pipeline.warehouse.merge import MergeResult as MergeResult
from cw_pipeline.warehouse.request_budget import RequestBudget as RequestBudget
from cw_pipeline.warehouse.schema import migrate as migrate
from cw_pipeline.warehouse.schema import up_to_date_schema as up_to_date_schema
from cw_pipeline.warehouse.schema import version_fault as version_fault
from cw_pipeline.warehouse.sweep import ListDifference as ListDifference
from cw_pipeline.warehouse.sweep import ListSnapshot as ListSnapshot
