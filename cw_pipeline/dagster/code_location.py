"""Everything Dagster is told of some entities, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.dagster.checks import clock_check, entity_checks, key_checks
from cw_pipeline.dagster.executors import executor
from cw_pipeline.dagster.jobs import REFRESH, REPORTING, jobs
from cw_pipeline.dagster.maintenance import maintenance_job
from cw_pipeline.dagster.notifications import alert_sensor
from cw_pipeline.dagster.partitions import months_from
from cw_pipeline.dagster.reconcile_assets import proof_assets
from cw_pipeline.dagster.reporting_assets import reporting_assets, reporting_sensors
from cw_pipeline.dagster.reports_api_assets import report_asset, report_table_assets
from cw_pipeline.dagster.resource import tenant_run
from cw_pipeline.dagster.schedules import schedules
from cw_pipeline.dagster.sync_assets import entity_assets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings


def definitions(settings: Settings, entities: Sequence[Entity]) -> dg.Definitions:
    """Assets, checks, jobs, schedules and alerts of these entities. Connects to nothing."""
    made = jobs(settings, entities)
    upkeep = maintenance_job(settings, entities)
    return dg.Definitions(
        assets=[
            *entity_assets(settings, entities, months_from(settings.backfill_start)),
            *proof_assets(settings, entities),
            report_asset(settings),
            *report_table_assets(settings),
            *reporting_assets(settings, entities),
        ],
        asset_checks=[
            entity_checks(settings, entities),
            clock_check(settings),
            key_checks(settings),
        ],
        jobs=[*made.values(), upkeep],
        schedules=schedules(settings, entities, {**made, upkeep.name: upkeep}),
        sensors=[
            alert_sensor(settings, entities),
            *reporting_sensors(settings, made[REFRESH], made[REPORTING]),
        ],
        resources={"tenant_run": tenant_run},
        executor=executor(settings),
    )
