"""An asset for each entity, and for each of the API's modules the step that syncs them.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from cw_pipeline.dagster.asset_specs import SYNC_OK, asset_key, asset_spec
from cw_pipeline.dagster.config import SyncConfig
from cw_pipeline.dagster.executors import step_tags
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.step import ModuleSync, Result
from cw_pipeline.model import Entity
from cw_pipeline.settings import Settings

MONTHS_A_RUN = 12  # a backfill of years: a run each, so that it can be resumed and others cut in


def by_module(entities: Sequence[Entity]) -> dict[str, list[Entity]]:
    """The entities of each of the API's modules."""
    modules: dict[str, list[Entity]] = {}
    for entity in sorted(entities, key=lambda each: each.name):
        modules.setdefault(entity.module, []).append(entity)
    return modules


def pool(settings: Settings) -> str:
    """The pool of what asks the tenant: its own, as is its request budget."""
    return f"{settings.schema_}_api"


def op_name(module: str) -> str:
    """The name of the step that syncs a module; run config names it."""
    return f"sync_{module}"


def entity_assets(
    settings: Settings,
    entities: Sequence[Entity],
    months: dg.TimeWindowPartitionsDefinition,
) -> list[dg.AssetsDefinition]:
    """The assets of the entities, one definition for each module."""
    return [_module(settings, module, own, months) for module, own in by_module(entities).items()]


def _module(
    settings: Settings,
    module: str,
    entities: list[Entity],
    months: dg.TimeWindowPartitionsDefinition,
) -> dg.AssetsDefinition:
    keys = {entity.name: asset_key(settings.schema_, entity.table) for entity in entities}

    @dg.multi_asset(
        name=op_name(module),
        description=f"Brings the entities of the {module} module up to date, several at a time.",
        specs=[asset_spec(settings, entity, months) for entity in entities],
        check_specs=[
            dg.AssetCheckSpec(SYNC_OK, asset=key, description="The last run could read and load it")
            for key in keys.values()
        ],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=MONTHS_A_RUN),
        pool=pool(settings),
        op_tags=step_tags(settings),
    )
    def sync_module(
        context: dg.AssetExecutionContext,
        config: SyncConfig,
        tenant_run: dg.ResourceParam[PipelineRun],
    ) -> Iterator[Result]:
        step = ModuleSync(context, tenant_run, months, {keys[e.name]: e for e in entities})
        yield from step.results(config)

    return sync_module
