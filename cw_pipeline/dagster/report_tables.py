"""The reports that CW_REPORTS chooses, as assets: a table each, brought up to date.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Iterator
from typing import TypeAlias

import dagster as dg
from pydantic import Field

from cw_pipeline import pipeline
from cw_pipeline.dagster import metadata
from cw_pipeline.dagster.asset_specs import KINDS, OWNER, SYNC_OK, asset_key
from cw_pipeline.dagster.executors import step_tags
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.sync_assets import pool
from cw_pipeline.errors import EntityBusy, PipelineError
from cw_pipeline.model import SyncResult
from cw_pipeline.plural import count
from cw_pipeline.reports_api.api import report_entity
from cw_pipeline.reports_api.sync import sync_report
from cw_pipeline.settings import Settings

OP = "sync_report_tables"
Result: TypeAlias = dg.MaterializeResult[None] | dg.AssetCheckResult


class ReportConfig(dg.Config):
    """How much of the reports is read."""

    full: bool = Field(default=False, description="Reads each report whole.")


def report_table_keys(settings: Settings) -> dict[dg.AssetKey, str]:
    """The assets of the chosen reports, and each one's report."""
    names = pipeline.reports(settings)
    return {asset_key(settings.schema_, report_entity(name).table): name for name in names}


def report_table_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """One definition of all the reports' tables; none where no report is chosen."""
    keys = report_table_keys(settings)
    if not keys:
        return []

    @dg.multi_asset(
        name=OP,
        description="Brings the tables of the chosen reports up to date, one after the other.",
        specs=[_spec(key, name) for key, name in keys.items()],
        check_specs=[
            dg.AssetCheckSpec(SYNC_OK, asset=key, description="The last run could read and load it")
            for key in keys
        ],
        can_subset=True,
        op_tags=step_tags(settings),
        pool=pool(settings),
    )
    def sync_report_tables(
        context: dg.AssetExecutionContext,
        config: ReportConfig,
        tenant_run: dg.ResourceParam[PipelineRun],
    ) -> Iterator[Result]:
        failed: dict[str, Exception] = {}
        checked = {check.asset_key for check in context.selected_asset_check_keys}
        for key in sorted(context.selected_asset_keys | checked):
            try:
                report = sync_report(tenant_run.engine(), keys[key], full=config.full)
            except PipelineError as error:
                tenant_run.give_up(error)  # the keys were refused: no other report fares better
                report = SyncResult(f"system/reports/{keys[key]}", "refresh", failure=error)
            tenant_run.report_result(report)
            if report.failure is not None and not isinstance(report.failure, EntityBusy):
                failed[keys[key]] = report.failure
            yield from _results(key, report, loaded=key in context.selected_asset_keys)
        if failed:
            raise tenant_run.failed(context, failed, f"of {count(len(keys), 'report')}")

    return [sync_report_tables]


def _results(key: dg.AssetKey, report: SyncResult, *, loaded: bool) -> Iterator[Result]:
    fine = report.failure is None
    busy = isinstance(report.failure, EntityBusy)
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=SYNC_OK,
        passed=fine,
        severity=dg.AssetCheckSeverity.WARN if busy else dg.AssetCheckSeverity.ERROR,
        description=str(report.failure) if report.failure else "; ".join(report.warnings) or None,
        metadata=metadata.sync_figures(report),
    )
    if fine and loaded:
        rows = {"dagster/row_count": report.row_count or 0}
        yield dg.MaterializeResult(
            asset_key=key, metadata={**metadata.sync_figures(report), **rows}
        )


def _spec(key: dg.AssetKey, name: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        group_name="reports",
        description=(
            f"The report {name}, typed as its columns are declared: what changed since"
            " Last_Update_UTC where it has that, else whole, and whole once a day."
        ),
        owners=[OWNER],
        kinds=KINDS,
        skippable=True,
        metadata={
            "API": f"GET /system/reports/{name}",
            "dagster/table_name": ".".join(key.path),
            "dagster/storage_kind": "postgres",
        },
    )
