"""Merging rows into Postgres, together with the checkpoint that says so."""

from cw_pipeline.warehouse.entity_store import Hold as Hold
from cw_pipeline.warehouse.merge import Outcome as Outcome
from cw_pipeline.warehouse.request_budget import Budget as Budget
from cw_pipeline.warehouse.schema import migrate as migrate
from cw_pipeline.warehouse.schema import version_fault as version_fault
from cw_pipeline.warehouse.sweep import Difference as Difference
from cw_pipeline.warehouse.sweep import Sweep as Sweep
from cw_pipeline.warehouse.warehouse import Warehouse as Warehouse
