"""Everything Dagster is told of some entities, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.orchestrate.assets import entity_assets
from cw_pipeline.orchestrate.jobs import jobs
from cw_pipeline.orchestrate.months import months_from
from cw_pipeline.orchestrate.promises import promises
from cw_pipeline.orchestrate.proof import proof_assets
from cw_pipeline.orchestrate.report_tables import report_table_assets
from cw_pipeline.orchestrate.reports import report_asset
from cw_pipeline.orchestrate.schedules import schedules
from cw_pipeline.orchestrate.tenant_run import tenant_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings


def definitions(settings: Settings, entities: Sequence[Entity]) -> dg.Definitions:
    """Assets, checks, jobs and schedules of these entities. Connects to nothing."""
    made = jobs(settings, entities)
    return dg.Definitions(
        assets=[
            *entity_assets(settings, entities, months_from(settings.backfill_start)),
            *proof_assets(settings, entities),
            report_asset(settings),
            *report_table_assets(settings),
        ],
        asset_checks=[promises(settings, entities)],
        jobs=made.values(),
        schedules=schedules(settings, entities, made),
        resources={"tenant_run": tenant_run},
        executor=dg.in_process_executor,
    )
