"""An asset for each entity, and the step that syncs those of a run.

One step for all: the tables of the reporting schema follow what was read in the same process,
although a list failed, and a run has one set of options. They are another step's assets, because
inputs with months would have to be told of in runs that have none.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterator

import dagster as dg

from cw_pipeline.dagster.asset_specs import SYNC_OK, asset_spec, full_sync_spec
from cw_pipeline.dagster.config import SyncConfig
from cw_pipeline.dagster.resource import run_of
from cw_pipeline.dagster.step import Result, SyncStep
from cw_pipeline.dagster.tenant import TenantSetup

OP = "sync"
"""The plain name of the step; run config names it."""
MONTHS_A_RUN = 12  # a backfill of years: a run each, so that it can be resumed and others cut in


def sync_assets(
    tenant: TenantSetup, months: dg.TimeWindowPartitionsDefinition, *, described: bool = True
) -> list[dg.AssetsDefinition]:
    """The assets of the tenant's entities, in one definition; none where there is no entity.

    `described`: with all that the UI says of them, which a run has no use for.
    """
    by_key = {tenant.key(entity.table): entity for entity in tenant.entities}
    if not by_key:
        return []

    @dg.multi_asset(
        **tenant.op(OP, asks=True),
        description=(
            "Brings lists up to date, several at a time, and then the tables of the reporting"
            " schema that show them."
        ),
        specs=[
            *(
                asset_spec(tenant, entity, months, described=described)
                for entity in tenant.entities
            ),
            full_sync_spec(tenant),
        ],
        check_specs=[
            dg.AssetCheckSpec(SYNC_OK, asset=key, description="The last run could read and load it")
            for key in by_key
        ],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=MONTHS_A_RUN),
    )
    def sync(context: dg.AssetExecutionContext, config: SyncConfig) -> Iterator[Result]:
        yield from SyncStep(context, run_of(tenant, context), months, by_key).results(config)

    return [sync]
