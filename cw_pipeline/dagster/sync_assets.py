"""An asset for each entity, and for each of the API's modules the step that syncs them.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from cw_pipeline.dagster.asset_specs import SYNC_OK, asset_spec
from cw_pipeline.dagster.config import SyncConfig
from cw_pipeline.dagster.resource import run_of
from cw_pipeline.dagster.step import ModuleSync, Result
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.model import Entity

MONTHS_A_RUN = 12  # a backfill of years: a run each, so that it can be resumed and others cut in


def by_module(entities: Sequence[Entity]) -> dict[str, list[Entity]]:
    """The entities of each of the API's modules."""
    modules: dict[str, list[Entity]] = {}
    for entity in sorted(entities, key=lambda each: each.name):
        modules.setdefault(entity.module, []).append(entity)
    return modules


def op_name(module: str) -> str:
    """The plain name of the step that syncs a module."""
    return f"sync_{module}"


def entity_assets(
    tenant: TenantSetup, months: dg.TimeWindowPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """The assets of the entities, one definition for each module."""
    modules = by_module(tenant.entities)
    return [_module(tenant, module, own, months) for module, own in modules.items()]


def _module(
    tenant: TenantSetup,
    module: str,
    entities: list[Entity],
    months: dg.TimeWindowPartitionsDefinition,
) -> dg.AssetsDefinition:
    by_key = {tenant.key(entity.table): entity for entity in entities}

    @dg.multi_asset(
        **tenant.op(op_name(module), asks=True),
        description=f"Brings the entities of the {module} module up to date, several at a time.",
        specs=[asset_spec(tenant, entity, months) for entity in entities],
        check_specs=[
            dg.AssetCheckSpec(SYNC_OK, asset=key, description="The last run could read and load it")
            for key in by_key
        ],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=MONTHS_A_RUN),
    )
    def sync_module(context: dg.AssetExecutionContext, config: SyncConfig) -> Iterator[Result]:
        yield from ModuleSync(context, run_of(tenant, context), months, by_key).results(config)

    return sync_module
