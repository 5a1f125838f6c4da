"""The jobs: what runs together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.orchestrate.specs import SYNC_OK, asset_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings

REFRESH = "refresh"
TRIGGER = "cw/trigger"

_RETRIES = {"dagster/max_retries": "1", "dagster/retry_strategy": "FROM_ASSET_FAILURE"}
"""A failed run is tried once more, with the entities that failed. Set by job, read by the daemon."""


def refresh_job(settings: Settings, entities: Sequence[Entity]) -> dg.JobDefinition:
    """Brings entities up to date."""
    keys = [asset_key(settings.schema_, entity.table) for entity in entities]
    return dg.define_asset_job(
        REFRESH,
        description=(
            "Reads what changed since each entity's watermark. The schedule launches it; launched"
            " by hand with a month, it reads that month again."
        ),
        selection=synced(keys),
        tags=_RETRIES,
        executor_def=dg.in_process_executor,
    )


def synced(keys: Sequence[dg.AssetKey]) -> dg.AssetSelection:
    """The assets with the check that their own step makes, and no other's."""
    checks = [dg.AssetCheckKey(key, SYNC_OK) for key in keys]
    return dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks)
