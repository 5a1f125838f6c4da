"""The reporting schema as assets: tables brought up to date after each refresh, and views.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import dagster as dg

from cw_pipeline import composition
from cw_pipeline.dagster.asset_specs import OWNER, asset_key, freshness_policy, report_keys
from cw_pipeline.dagster.executors import step_tags
from cw_pipeline.dagster.internals import AssetJob
from cw_pipeline.dagster.jobs import REPORTING, tenant_tag
from cw_pipeline.dagster.names import TRIGGER
from cw_pipeline.dagster.resource import RETRY_TAG, PipelineRun
from cw_pipeline.errors import PipelineError
from cw_pipeline.model import Entity
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.reporting import column_lineage, lineage, refresh, reporting_schema
from cw_pipeline.reporting.script import ViewScript, scripts
from cw_pipeline.settings import Settings

GROUP = "reporting"
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]


def reporting_assets(
    settings: Settings, entities: Sequence[Entity]
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The tables, in one step, and the views, which are never out of date."""
    tables = {entity.name: entity.table for entity in entities}
    specs = [_spec(settings, own, tables) for own in scripts()]
    kept = report_keys(settings)

    @dg.multi_asset(
        name="refresh_reporting",
        description="Brings the tables of the reporting schema up to date, row by changed row.",
        specs=[spec for spec in specs if spec.key in kept],
        can_subset=True,
        op_tags=step_tags(settings),
    )
    def refresh_reporting(
        context: dg.AssetExecutionContext, tenant_run: dg.ResourceParam[PipelineRun]
    ) -> Iterator[dg.MaterializeResult[None]]:
        try:
            yield from _refresh_tables(tenant_run.settings(), context.selected_asset_keys)
        except PipelineError as error:
            tenant_run.failures.append(error)
            retry = str(tenant_run.retryable).lower()
            context.instance.add_run_tags(context.run.run_id, {RETRY_TAG: retry})
            raise dg.Failure(str(error), allow_retries=False) from error

    return [refresh_reporting, *(spec for spec in specs if spec.key not in kept)]


def _refresh_tables(
    settings: Settings, wanted: Collection[dg.AssetKey]
) -> Iterator[dg.MaterializeResult[None]]:
    """What was done to each table. The schema is brought up to this version first."""
    Pipeline(settings).publish()
    schema = reporting_schema(settings.schema_)
    names = [key.path[-1] for key in wanted]
    for table in refresh(composition.dsn(settings), settings.schema_, names):
        key = asset_key(schema, table.name)
        if key not in wanted:
            continue  # what it stands on was refreshed, too
        told: dict[str, Any] = {
            "rows_computed": table.rows,
            "seconds": round(table.seconds, 3),
        }
        if table.complete_through is not None:
            told["data_complete_through"] = dg.MetadataValue.timestamp(table.complete_through)
        yield dg.MaterializeResult(asset_key=key, metadata=told)


def _spec(settings: Settings, own: ViewScript, tables: dict[str, str]) -> dg.AssetSpec:
    schema = reporting_schema(settings.schema_)
    read = lineage()[own.name]
    views = [asset_key(schema, name) for name in read if "/" not in name]
    lists = [asset_key(settings.schema_, tables[name]) for name in read if name in tables]
    is_table = own.changed is not None
    return dg.AssetSpec(
        asset_key(schema, own.name),
        deps=[*views, *lists],
        description=own.comment,
        group_name=GROUP,
        owners=[OWNER],
        kinds={"postgres", "table" if is_table else "view"},
        skippable=is_table,
        freshness_policy=freshness_policy(settings) if is_table else None,
        metadata={
            "dagster/table_name": f"{schema}.{own.name}",
            "dagster/storage_kind": "postgres",
            "dagster/column_schema": _column_schema(own),
            "dagster/column_lineage": _column_lineage(settings, own, tables.values()),
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


def _column_lineage(
    settings: Settings, own: ViewScript, tables: Collection[str]
) -> dg.TableColumnLineage:
    """What each column comes from, of the assets there are."""
    schema = reporting_schema(settings.schema_)
    known = {table: asset_key(settings.schema_, table) for table in tables}
    known |= {name: asset_key(schema, name) for name in column_lineage()}
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
    settings: Settings,
    refreshing: AssetJob,
    reporting: AssetJob,
) -> list[dg.SensorDefinition]:
    """Whatever came of a refresh, what it did bring is brought into the reports.

    Sensors and no later step of the refresh: that would be skipped whenever one list failed.
    """
    ends = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
    return [_after(settings, end, refreshing, reporting) for end in ends]


def _after(
    settings: Settings,
    end: dg.DagsterRunStatus,
    refreshing: AssetJob,
    reporting: AssetJob,
) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=end,
        name=f"reporting_after_{end.value.lower()}",
        description="Brings the reports' tables up to date when a refresh has ended.",
        monitored_jobs=[refreshing],
        request_job=reporting,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def ended(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
        waiting = dg.RunsFilter(job_name=REPORTING, statuses=_WAITING, tags=tenant_tag(settings))
        if context.instance.get_runs_count(waiting):
            return dg.SkipReason("a run that will see the same is about to start")
        return dg.RunRequest(tags={TRIGGER: REPORTING})

    return ended
