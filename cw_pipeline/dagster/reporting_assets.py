"""The reporting schema as assets: tables, which follow what was read, and views.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Collection, Iterator
from typing import Any

import dagster as dg

from cw_pipeline.dagster.asset_specs import report_keys
from cw_pipeline.dagster.checks import key_check_keys, report_again
from cw_pipeline.dagster.resource import run_of
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import PipelineError
from cw_pipeline.reporting import Refreshed, column_lineage, column_types, lineage, tables_reading
from cw_pipeline.reporting.script import ViewScript, scripts

GROUP = "reporting"


def reporting_assets(tenant: TenantSetup) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The tables, with a step that refreshes those that were selected, and the views."""
    specs = {tenant.reporting_key(script.name): _spec(tenant, script) for script in scripts()}
    names = {tenant.reporting_key(script.name): script.name for script in scripts()}
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
        wanted = {names[key] for key in context.selected_asset_keys}
        try:
            for table in run.pipeline().refresh_tables(wanted, publish=True):
                if table.name in wanted:  # else it is one that they stand on
                    event = table_event(tenant, table)
                    yield dg.MaterializeResult(asset_key=event.asset_key, metadata=event.metadata)
            report_again(context.instance, key_check_keys(tenant))
        except PipelineError as error:
            raise run.failed_alone(context, error) from error

    return [refresh_reporting, *(spec for key, spec in specs.items() if key not in kept)]


def table_event(tenant: TenantSetup, table: Refreshed) -> dg.AssetMaterialization:
    """What a refresh did to a table."""
    metadata: dict[str, Any] = {"rows_computed": table.rows, "seconds": round(table.seconds, 3)}
    if table.complete_through is not None:
        metadata["data_complete_through"] = dg.MetadataValue.timestamp(table.complete_through)
    return dg.AssetMaterialization(tenant.reporting_key(table.name), metadata=metadata)


def view_events(tenant: TenantSetup, lists: Collection[str]) -> Iterator[dg.AssetMaterialization]:
    """That views show something new, so that what stands on them can follow.

    A view that reads no list tells of all of them: `freshness`.
    """
    reading = tables_reading(lists)
    for script in scripts():
        if script.changed is None and (script.name in reading or not lineage()[script.name]):
            yield dg.AssetMaterialization(
                tenant.reporting_key(script.name), description="a list that it shows has changed"
            )


def _spec(tenant: TenantSetup, script: ViewScript) -> dg.AssetSpec:
    tables = {entity.name: entity.table for entity in tenant.entities}
    read = lineage()[script.name]
    views = [tenant.reporting_key(name) for name in read if "/" not in name]
    lists = [tenant.key(tables[name]) for name in read if name in tables]
    is_table = script.changed is not None
    return tenant.spec(
        tenant.reporting_schema,
        script.name,
        deps=[*views, *lists],
        description=script.comment,
        group=GROUP,
        kinds={"postgres", "table" if is_table else "view"},
        skippable=is_table,
        metadata={
            "dagster/column_schema": _column_schema(script),
            "dagster/column_lineage": _column_lineage(tenant, script),
        },
    )


def _column_schema(script: ViewScript) -> dg.TableSchema:
    """The columns; what they come from is told here too: the open-source UI hides the lineage."""
    sources, types = column_lineage()[script.name], column_types()[script.name]
    columns = []
    for name, text in script.columns.items():
        came = f" ← {', '.join(sources[name])}" if sources[name] else ""
        columns.append(dg.TableColumn(name, types.get(name, "unknown"), description=text + came))
    return dg.TableSchema(columns=columns)


def _column_lineage(tenant: TenantSetup, script: ViewScript) -> dg.TableColumnLineage:
    """What each column comes from, of the assets there are."""
    known = {entity.table: tenant.key(entity.table) for entity in tenant.entities}
    known |= {name: tenant.reporting_key(name) for name in column_lineage()}
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for name, sources in column_lineage()[script.name].items():
        for source in sources:
            table, _, column = source.partition(".")
            entity, _, array = table.partition("__")
            if entity in known:
                own_name = f"{array}.{column}" if array else column
                deps.setdefault(name, []).append(dg.TableColumnDep(known[entity], own_name))
    return dg.TableColumnLineage(deps)
