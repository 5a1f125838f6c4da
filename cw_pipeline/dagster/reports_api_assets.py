"""The columns of the tenant's reports, as an asset that notices when they change.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields

import dagster as dg

from cw_pipeline.dagster.asset_specs import KINDS, OWNER, SYNC_OK, asset_key
from cw_pipeline.dagster.executors import step_tags
from cw_pipeline.dagster.resource import RETRY_TAG, PipelineRun
from cw_pipeline.dagster.sync_assets import pool
from cw_pipeline.errors import PipelineError
from cw_pipeline.model import ReportDrift
from cw_pipeline.plural import count
from cw_pipeline.reports_api.columns import TABLE, ReportSnapshot, snapshot_reports
from cw_pipeline.settings import Settings

UNCHANGED = "unchanged"
_COLUMNS = {
    "report": "text",
    "column": "text",
    "type": "text",
    "nullable": "boolean",
    "position": "bigint",
    "first_seen": "timestamptz",
    "last_seen": "timestamptz",
    "_synced_at": "timestamptz",
    "_deleted_at": "timestamptz",
}


def report_key(settings: Settings) -> dg.AssetKey:
    """The asset of the reports' columns."""
    return asset_key(settings.schema_, TABLE)


def report_asset(settings: Settings) -> dg.AssetsDefinition:
    """Snapshots `/system/reports/{name}/columns` of every report, and tells what changed."""
    key = report_key(settings)

    @dg.multi_asset(
        name="snapshot_report_columns",
        specs=[_spec(key, settings.schema_)],
        check_specs=[
            dg.AssetCheckSpec(SYNC_OK, asset=key, description="Every report could be read"),
            dg.AssetCheckSpec(
                UNCHANGED,
                asset=key,
                description="No column was added, removed or retyped since the last snapshot",
            ),
        ],
        pool=pool(settings),
        op_tags=step_tags(settings),
    )
    def snapshot_report_columns(
        context: dg.AssetExecutionContext, tenant_run: dg.ResourceParam[PipelineRun]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        try:
            found = snapshot_reports(tenant_run.engine())
        except PipelineError as error:
            tenant_run.failures.append(error)
            retry = str(tenant_run.retryable).lower()
            context.instance.add_run_tags(context.run.run_id, {RETRY_TAG: retry})
            yield dg.AssetCheckResult(
                asset_key=key, check_name=SYNC_OK, passed=False, description=str(error)
            )
            raise dg.Failure(str(error), allow_retries=False) from error
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=_metadata(found),
            check_results=[_read(key, found), _same(key, found)],
        )

    return snapshot_report_columns


def _spec(key: dg.AssetKey, schema: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        group_name="reports",
        description=(
            "The columns of every report of the reporting API. A release or an administrator"
            " changes them without notice; the check `unchanged` tells, and `cw_sync.report_drift`"
            " keeps the history."
        ),
        owners=[OWNER],
        kinds=KINDS,
        skippable=True,
        metadata={
            "API": "GET /system/reports/{name}/columns",
            "dagster/table_name": f"{schema}.{TABLE}",
            "dagster/storage_kind": "postgres",
            "dagster/column_schema": dg.TableSchema(
                columns=[dg.TableColumn(name, kind) for name, kind in _COLUMNS.items()]
            ),
        },
    )


def _metadata(found: ReportSnapshot) -> Mapping[str, int | float]:
    return {
        "dagster/row_count": found.columns,
        "reports": found.reports,
        "unreadable_reports": len(found.unreadable),
        "changed_columns": len(found.drift),
        "requests": found.tally.requests,
        "retries": found.tally.retries,
        "throttled_seconds": round(found.tally.throttled_seconds, 3),
    }


def _read(key: dg.AssetKey, found: ReportSnapshot) -> dg.AssetCheckResult:
    troubles = [f"{name}: {why}" for name, why in sorted(found.unreadable.items())]
    if found.withheld:
        troubles.append(
            f"{count(len(found.withheld), 'report')} no longer listed, so many at once that none of"
            " their columns was deleted: may the API member's role still see them?"
        )
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=SYNC_OK,
        passed=not troubles,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(troubles) or None,
    )


def _same(key: dg.AssetKey, found: ReportSnapshot) -> dg.AssetCheckResult:
    rows = [dg.TableRecord(asdict(drift)) for drift in found.drift]
    shown = dg.TableSchema(columns=[dg.TableColumn(each.name) for each in fields(ReportDrift)])
    table = dg.MetadataValue.table(rows, shown)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=UNCHANGED,
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description="the first snapshot"
        if found.first
        else f"{count(len(rows), 'column')} changed",
        metadata={"changes": table} if rows else {},
    )
