"""Old runs and events are deleted, which Dagster never does; what is latest stays.

Without postponed annotations: Dagster reads an op's as objects.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from cw_pipeline.dagster.asset_specs import report_covered_months
from cw_pipeline.dagster.internals import delete_old_events, delete_run, delete_unused_snapshots
from cw_pipeline.dagster.jobs import MAINTENANCE
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.model import SyncMode

_PAGE = 200
_FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


def maintenance_job(tenant: TenantSetup) -> dg.JobDefinition:
    """The job that keeps Dagster's own storage small. It touches no tenant and no warehouse."""
    days = tenant.settings.keep_runs_days
    about = (
        f"Deletes the tenant's runs, events and results of checks that are older than {days} days."
    )
    dated = [
        tenant.key(entity.table)
        for entity in tenant.entities
        if entity.mode is SyncMode.INCREMENTAL
    ]

    @dg.op(
        name=tenant.name("delete_old_runs"),
        description=f"{about} The latest of each asset stays, and months stay shown as loaded.",
    )
    def delete_old_runs(context: dg.OpExecutionContext) -> None:
        instance = context.instance
        before = {key: instance.get_materialized_partitions(key) for key in dated}
        oldest = datetime.now(UTC) - timedelta(days=days)
        records = instance.get_asset_records(list(tenant.keys))
        latest = {record.asset_entry.last_run_id for record in records}
        old = [each for each in _old(instance, tenant, oldest) if each not in latest]
        for run_id in old:
            delete_run(instance, run_id)
        if old:
            for key, months in before.items():
                report_covered_months(instance, key, sorted(months), context.run_id)
        delete_old_events(instance, tenant.keys, oldest)
        delete_unused_snapshots(instance)
        context.log.info("deleted %d runs from before %s", len(old), f"{oldest:%Y-%m-%d}")

    @dg.job(
        name=tenant.name(MAINTENANCE),
        description=about,
        tags=tenant.tags,
    )
    def maintenance() -> None:
        delete_old_runs()

    return maintenance


def _old(instance: dg.DagsterInstance, tenant: TenantSetup, oldest: datetime) -> Iterator[str]:
    """The ids of the tenant's runs that ended, and began before that."""
    wanted = dg.RunsFilter(created_before=oldest, statuses=_FINISHED)
    cursor = None
    while runs := instance.get_runs(wanted, cursor=cursor, limit=_PAGE):
        yield from (run.run_id for run in runs if tenant.owns(run))
        cursor = runs[-1].run_id
