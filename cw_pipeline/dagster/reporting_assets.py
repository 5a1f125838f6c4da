"""The reporting schema as assets: tables brought up to date after each refresh, and views.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Collection, Iterator
from typing import Any

import dagster as dg

from cw_pipeline import composition
from cw_pipeline.dagster.asset_specs import report_keys
from cw_pipeline.dagster.internals import AssetJob
from cw_pipeline.dagster.jobs import REPORTING
from cw_pipeline.dagster.names import TRIGGER
from cw_pipeline.dagster.resource import run_of
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import PipelineError
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.reporting import column_lineage, lineage, refresh
from cw_pipeline.reporting.script import ViewScript, scripts
from cw_pipeline.settings import Settings

GROUP = "reporting"
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]


def reporting_assets(tenant: TenantSetup) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The tables, in one step, and the views, which are never out of date."""
    specs = {tenant.reporting_key(own.name): _spec(tenant, own) for own in scripts()}
    kept = report_keys(tenant)

    @dg.multi_asset(
        **tenant.op("refresh_reporting"),
        description="Brings the tables of the reporting schema up to date, row by changed row.",
        specs=[specs[key] for key in kept],
        can_subset=True,
    )
    def refresh_reporting(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None]]:
        run = run_of(tenant, context)
        try:
            yield from _refresh_tables(tenant, run.settings(), context.selected_asset_keys)
        except PipelineError as error:
            raise run.failed_alone(context, error) from error

    return [refresh_reporting, *(spec for key, spec in specs.items() if key not in kept)]


def _refresh_tables(
    tenant: TenantSetup, settings: Settings, wanted: Collection[dg.AssetKey]
) -> Iterator[dg.MaterializeResult[None]]:
    """What was done to each table. The schema is brought up to this version first."""
    Pipeline(settings).publish()
    names = {own.name: tenant.reporting_key(own.name) for own in scripts()}
    asked = [name for name, key in names.items() if key in wanted]
    for table in refresh(composition.dsn(settings), settings.schema_, asked):
        if table.name not in asked:
            continue  # what it stands on was refreshed, too
        told: dict[str, Any] = {
            "rows_computed": table.rows,
            "seconds": round(table.seconds, 3),
        }
        if table.complete_through is not None:
            told["data_complete_through"] = dg.MetadataValue.timestamp(table.complete_through)
        yield dg.MaterializeResult(asset_key=names[table.name], metadata=told)


def _spec(tenant: TenantSetup, own: ViewScript) -> dg.AssetSpec:
    tables = {entity.name: entity.table for entity in tenant.entities}
    read = lineage()[own.name]
    views = [tenant.reporting_key(name) for name in read if "/" not in name]
    lists = [tenant.key(tables[name]) for name in read if name in tables]
    is_table = own.changed is not None
    return tenant.spec(
        tenant.reporting_schema,
        own.name,
        deps=[*views, *lists],
        description=own.comment,
        group=GROUP,
        kinds={"postgres", "table" if is_table else "view"},
        skippable=is_table,
        metadata={
            "dagster/column_schema": _column_schema(own),
            "dagster/column_lineage": _column_lineage(tenant, own),
        },
    )


def _column_schema(own: ViewScript) -> dg.TableSchema:
    """The columns; what they come from is told here too: the open-source UI hides the lineage."""
    sources = column_lineage()[own.name]
    columns = []
    for name, text in own.columns.items():
        came = f" ← {', '.join(sources[name])}" if sources[name] else ""
        columns.append(dg.TableColumn(name, description=text + came))
    return dg.TableSchema(columns=columns)


def _column_lineage(tenant: TenantSetup, own: ViewScript) -> dg.TableColumnLineage:
    """What each column comes from, of the assets there are."""
    known = {entity.table: tenant.key(entity.table) for entity in tenant.entities}
    known |= {name: tenant.reporting_key(name) for name in column_lineage()}
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for name, sources in column_lineage()[own.name].items():
        for source in sources:
            table, _, column = source.partition(".")
            entity, _, array = table.partition("__")
            if entity in known:
                own_name = f"{array}.{column}" if array else column
                deps.setdefault(name, []).append(dg.TableColumnDep(known[entity], own_name))
    return dg.TableColumnLineage(deps)


def reporting_sensors(
    tenant: TenantSetup,
    refreshing: AssetJob,
    reporting: AssetJob,
) -> list[dg.SensorDefinition]:
    """Whatever came of a refresh, what it did bring is brought into the reports.

    Sensors and no later step of the refresh: that would be skipped whenever one list failed.
    """
    ends = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
    return [_after(tenant, end, refreshing, reporting) for end in ends]


def _after(
    tenant: TenantSetup,
    end: dg.DagsterRunStatus,
    refreshing: AssetJob,
    reporting: AssetJob,
) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=end,
        name=tenant.name(f"reporting_after_{end.value.lower()}"),
        description="Brings the reports' tables up to date when a refresh has ended.",
        monitored_jobs=[refreshing],
        request_job=reporting,
        default_status=dg.DefaultSensorStatus.RUNNING
        if tenant.running
        else dg.DefaultSensorStatus.STOPPED,
    )
    def ended(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        waiting = dg.RunsFilter(
            job_name=tenant.name(REPORTING), statuses=_WAITING, tags=tenant.tags
        )
        if context.instance.get_runs_count(waiting):
            return dg.SkipReason("a run that will see the same is about to start")
        return dg.RunRequest(tags={TRIGGER: REPORTING})

    return ended
