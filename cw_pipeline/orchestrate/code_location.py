"""Everything Dagster is told of some entities, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.orchestrate.assets import entity_assets
from cw_pipeline.orchestrate.jobs import refresh_job
from cw_pipeline.orchestrate.months import months_from
from cw_pipeline.orchestrate.tenant_run import tenant_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings


def definitions(settings: Settings, entities: Sequence[Entity]) -> dg.Definitions:
    """Assets, jobs, schedules and checks of these entities."""
    months = months_from(settings.backfill_start)
    return dg.Definitions(
        assets=entity_assets(settings, entities, months),
        jobs=[refresh_job(settings, entities)],
        resources={"tenant_run": tenant_run},
        executor=dg.in_process_executor,
    )
