"""Merging rows into Postgres, together with the checkpoint that says so."""

from cw_pipeline.load.budget import Budget as Budget
from cw_pipeline.load.hold import Hold as Hold
from cw_pipeline.load.merge import Outcome as Outcome
from cw_pipeline.load.migrate import migrate as migrate
from cw_pipeline.load.migrate import version_fault as version_fault
from cw_pipeline.load.sweep import Difference as Difference
from cw_pipeline.load.sweep import Sweep as Sweep
from cw_pipeline.load.warehouse import Warehouse as Warehouse
