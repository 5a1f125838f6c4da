"""The columns of the tenant's reports, as an asset that notices when they change.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import TypeAlias

import dagster as dg
from pydantic import Field

from cw_pipeline import composition
from cw_pipeline.dagster import asset_specs
from cw_pipeline.dagster.asset_specs import SYNC_OK
from cw_pipeline.dagster.resource import run_of
from cw_pipeline.dagster.sync_assets import sync_ok_result
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import EntityBusy, PipelineError
from cw_pipeline.model import ReportDrift, SyncResult
from cw_pipeline.reports_api.api import report_entity
from cw_pipeline.reports_api.columns import TABLE, ReportSnapshot
from cw_pipeline.wording import count

GROUP = "reports"
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


def report_key(tenant: TenantSetup) -> dg.AssetKey:
    """The asset of the reports' columns."""
    return tenant.key(TABLE)


def report_asset(tenant: TenantSetup) -> dg.AssetsDefinition:
    """Snapshots `/system/reports/{name}/columns` of every report, and tells what changed."""
    key = report_key(tenant)

    @dg.multi_asset(
        **tenant.op("snapshot_report_columns", asks=True),
        specs=[_spec(tenant)],
        check_specs=[
            dg.AssetCheckSpec(SYNC_OK, asset=key, description="Every report could be read"),
            dg.AssetCheckSpec(
                UNCHANGED,
                asset=key,
                description="No column was added, removed or retyped since the last snapshot",
            ),
        ],
    )
    def snapshot_report_columns(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        run = run_of(tenant, context)
        try:
            found = run.connected_pipeline().snapshot_reports()
        except PipelineError as error:
            yield dg.AssetCheckResult(
                asset_key=key, check_name=SYNC_OK, passed=False, description=str(error)
            )
            run.give_up(error)
            raise run.failed_alone(context, error) from error
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=_metadata(found),
            check_results=[_read(key, found), _same(key, found)],
        )

    return snapshot_report_columns


def _spec(tenant: TenantSetup) -> dg.AssetSpec:
    return tenant.spec(
        tenant.schema,
        TABLE,
        group=GROUP,
        description=(
            "The columns of every report of the reporting API. A release or an administrator"
            " changes them without notice; the check `unchanged` tells, and `cw_sync.report_drift`"
            " keeps the history."
        ),
        skippable=True,
        metadata={
            "API": "GET /system/reports/{name}/columns",
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


OP = "sync_report_tables"
Result: TypeAlias = dg.MaterializeResult[None] | dg.AssetCheckResult


class ReportConfig(dg.Config):
    """How much of the reports is read."""

    full: bool = Field(default=False, description="Reads each report whole.")


def report_table_keys(tenant: TenantSetup) -> dict[dg.AssetKey, str]:
    """The assets of the chosen reports, and each one's report."""
    names = composition.report_names(tenant.settings)
    return {tenant.key(report_entity(name).table): name for name in names}


def report_table_assets(tenant: TenantSetup) -> list[dg.AssetsDefinition]:
    """One definition of all the reports' tables; none where no report is chosen."""
    keys = report_table_keys(tenant)
    if not keys:
        return []

    @dg.multi_asset(
        **tenant.op(OP, asks=True),
        description="Brings the tables of the chosen reports up to date, one after the other.",
        specs=[_report_spec(tenant, name) for name in keys.values()],
        check_specs=[
            dg.AssetCheckSpec(SYNC_OK, asset=key, description="The last run could read and load it")
            for key in keys
        ],
        can_subset=True,
    )
    def sync_report_tables(
        context: dg.AssetExecutionContext, config: ReportConfig
    ) -> Iterator[Result]:
        run = run_of(tenant, context)
        failed: dict[str, Exception] = {}
        checked = {check.asset_key for check in context.selected_asset_check_keys}
        for key in sorted(context.selected_asset_keys | checked):
            try:
                (report,) = run.connected_pipeline().sync_reports(keys[key], full=config.full)
            except PipelineError as error:
                run.give_up(error)  # the keys were refused: no other report fares better
                report = SyncResult(f"system/reports/{keys[key]}", "refresh", failure=error)
            run.report_result(report)
            if report.failure is not None and not isinstance(report.failure, EntityBusy):
                failed[keys[key]] = report.failure
            yield sync_ok_result(context.instance, key, report.entity, report)
            if report.failure is None and key in context.selected_asset_keys:
                rows = {"dagster/row_count": report.row_count or 0}
                figures = asset_specs.sync_figures(report)
                yield dg.MaterializeResult(asset_key=key, metadata={**figures, **rows})
        if failed:
            raise run.failure(context, failed, f"of {count(len(keys), 'report')}")

    return [sync_report_tables]


def _report_spec(tenant: TenantSetup, name: str) -> dg.AssetSpec:
    return tenant.spec(
        tenant.schema,
        report_entity(name).table,
        group=GROUP,
        description=(
            f"The report {name}, typed as its columns are declared: what changed since"
            " Last_Update_UTC where it has that, else whole, and whole once a day."
        ),
        skippable=True,
        metadata={"API": f"GET /system/reports/{name}"},
    )
