"""What the UI says of an entity: its key, what it is, where it is declared; its months; its syncs.

The months are those in which records last changed: windows that the UI shows and backfills. Not
days, because Dagster writes an event for each window of each entity: ten years of days would take
hours to report. What is finer than a month is asked for by `since` and `until`.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from cw_pipeline import composition
from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.naming import snake
from cw_pipeline.connectwise import Site
from cw_pipeline.dagster.internals import runless_materializations
from cw_pipeline.errors import ConfigError
from cw_pipeline.model import Column, Kind, SyncMode, Window
from cw_pipeline.paths import PACKAGE
from cw_pipeline.reporting.script import scripts
from cw_pipeline.warehouse.status import latest_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cw_pipeline.dagster.tenant import TenantSetup
    from cw_pipeline.model import Entity, SyncResult
    from cw_pipeline.settings import Settings
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.transform.mask import MaskingRules
    from cw_pipeline.warehouse import Database


SYNC_OK = "sync_ok"
COUNT = "count"
FULL_SYNC = "full_sync"
AUDIT, REREAD = "audit", "reread"

_HOW = {
    SyncMode.INCREMENTAL: (
        "Each pass asks for what changed since the watermark; that needs nobody. **Materialize**"
        " asks for months, and reads again what last changed in them: *Latest* is the current one,"
        " *All* goes back as far as months are shown. To read lists whole, materialize `full_sync`."
    ),
    SyncMode.FULL: "The list shows no changes, so each pass reads it whole.",
    SyncMode.PER_PARENT: (
        "Read parent by parent: parents that changed, and the rest in rotation. A backfill of"
        " months brings it up to date; it has no months of its own."
    ),
}
_MEANINGS = {
    "id": "ConnectWise's id of the record.",
    "parent_id": "The id of the record that this one is below.",
    "last_updated": "When ConnectWise last changed the record; passes and backfills ask by it.",
    "updated_by": "Who or what changed it then.",
    "date_entered": "When the record was entered in ConnectWise.",
    "entered_by": "Who or what entered it.",
    "_synced_at": "When the row was last written.",
    "_deleted_at": "When the record was found to be gone; null while it lives.",
    "_row_hash": "Tells whether the record changed.",
    "_source_hash": "Tells whether its JSON did, without typing it; null where that was not kept.",
    "_extra": "Fields that the catalog does not know, whole.",
}


def report_keys(tenant: TenantSetup) -> list[dg.AssetKey]:
    """The assets of the reporting schema's tables."""
    return [tenant.reporting_key(script.name) for script in scripts() if script.changed is not None]


def audit_key(tenant: TenantSetup) -> dg.AssetKey:
    """The asset of what reconcile found."""
    return tenant.key(AUDIT)


def reread_key(tenant: TenantSetup) -> dg.AssetKey:
    """The asset of what the re-read found."""
    return tenant.key(REREAD)


def full_sync_spec(tenant: TenantSetup) -> dg.AssetSpec:
    """The asset that stands for every list being read whole.

    To materialize it is to ask for it, without options.
    """
    return tenant.spec(
        tenant.schema,
        FULL_SYNC,
        group="proof",
        description=(
            "Every list read whole, whatever its watermark: what `sync --full` does."
            " **Materialize** asks for it, with nothing to fill in; the lists show what was read."
            " Where a table is in doubt, `audit` mends what differs, and reads far less."
        ),
        skippable=True,
        metadata={"dagster/table_name": "cw_sync.run"},
    )


def asset_spec(
    tenant: TenantSetup, entity: Entity, months: dg.PartitionsDefinition[str]
) -> dg.AssetSpec:
    """The asset of an entity.

    A child links to its parent, but does not depend on it: Dagster would then look up the parent's
    months for a run that has none, and fail.
    """
    return tenant.spec(
        tenant.schema,
        entity.table,
        description=f"{entity.description}.\n\n{_HOW[entity.mode]}",
        skippable=True,
        group=entity.module,
        tags={"cw/keeping": entity.mode.value, "cw/core": str(entity.core).lower()},
        partitions_def=months if entity.mode is SyncMode.INCREMENTAL else None,
        metadata=_metadata(tenant, entity),
    )


def column_schema(entity: Entity, privacy: MaskingRules | None = None) -> dg.TableSchema:
    """The table's columns; keys, and what is hashed or dropped, are tagged so."""
    stamps = [Column(name, (), Kind.TIMESTAMPTZ) for name in ("_synced_at", "_deleted_at")]
    hidden: dict[tuple[str, str], str] = {}
    with suppress(ConfigError):  # the run says what is wrong with it
        hidden.update(privacy.columns(entity) if privacy else {})
    tags = {name: {how: ""} for (table, name), how in hidden.items() if table == entity.table}
    tags |= {name: {"key": ""} for name in entity.key}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.kind.value,
                description=_meaning(column),
                constraints=dg.TableColumnConstraints(nullable=column.name not in entity.key),
                tags=tags.get(column.name),
            )
            for column in (*entity.row_columns, *stamps)
        ]
    )


def _meaning(column: Column) -> str | None:
    """What a column is, where more is known of it than its name says.

    The vendor's document describes next to no field. A field whose key in the JSON cannot be told
    from the column's name has that key.
    """
    if known := _MEANINGS.get(column.name):
        return known
    path = "/".join(column.path)
    if snake(path.replace("/", "_")) != column.name:
        return f"`{path}` in ConnectWise's JSON." if path else None
    return "A day, without a time." if column.kind is Kind.DATE else None


def _metadata(tenant: TenantSetup, entity: Entity) -> dict[str, Any]:
    settings = tenant.settings
    metadata: dict[str, Any] = {
        "dagster/column_schema": column_schema(entity, _privacy(settings)),
        "dagster/code_references": _declared_at(entity),
        "API": _api(settings, entity),
        "entity": entity.name,
    }
    if entity.parent:
        metadata["parent"] = dg.MetadataValue.asset(tenant.key(CATALOG[entity.parent].table))
    if entity.arrays:
        tables = [f"- `{tenant.schema}.{array.table}`" for array in entity.arrays]
        metadata["arrays"] = dg.MetadataValue.md("\n".join(tables))
    return metadata


def _privacy(settings: Settings) -> MaskingRules | None:
    try:
        return composition.masking_rules(settings)
    except ConfigError:
        return None  # the run says what is wrong with it


def _api(settings: Settings, entity: Entity) -> dg.MetadataValue[Any]:
    """Where a signed-in browser sees the list; its bare path if no tenant is set."""
    try:
        site = Site.of(settings.site) if settings.site else None
    except ConfigError:
        site = None  # the run says what is wrong with it
    if site is None or "{" in entity.path:
        return dg.MetadataValue.text(f"GET {entity.path}")
    return dg.MetadataValue.url(f"{site.info}/v4_6_release/apis/3.0{entity.path}")


def _declared_at(entity: Entity) -> dg.CodeReferencesMetadataValue:
    """The line of the catalog that declares the entity."""
    file = PACKAGE / "catalog" / f"{entity.module}.py"
    lines = (n for n, line in enumerate(_lines(entity.module), 1) if f'"{entity.path}"' in line)
    line = next(lines, 1)
    declared = dg.LocalFileCodeReference(file_path=str(file), line_number=line, label="catalog")
    return dg.CodeReferencesMetadataValue(code_references=[declared])


@cache
def _lines(module: str) -> list[str]:
    return (PACKAGE / "catalog" / f"{module}.py").read_text("utf-8").splitlines()


_COUNTS = (
    "rows_read",
    "rows_inserted",
    "rows_updated",
    "rows_unchanged",
    "rows_deleted",
    "rows_healed",
    "dead_letters",
    "requests",
    "retries",
    "pages",
)


def sync_metadata(
    report: SyncResult, entity: Entity, engine: SyncContext, *, whole: bool
) -> dict[str, Any]:
    """The metadata of a materialization. `whole`: the pass read everything.

    The rows that changed last go along only where some have changed, and the columns only where
    such a pass read everything: they are in the asset's definition anyhow, and would make up most
    of what a refresh every quarter of an hour leaves in Dagster's storage.
    """
    metadata: dict[str, Any] = {**sync_figures(report), "kind": report.kind}
    metadata["dagster/table_name"] = f"{engine.database.schema}.{entity.table}"
    if report.row_count is not None:
        metadata["dagster/row_count"] = report.row_count
    if report.watermark is not None:
        metadata["data_complete_through"] = dg.MetadataValue.timestamp(report.watermark)
    if report.warnings:
        metadata["warnings"] = dg.MetadataValue.md(
            "\n".join(f"- {each}" for each in report.warnings)
        )
    if report.rows_inserted or report.rows_updated or report.rows_deleted:
        metadata["preview"] = dg.MetadataValue.md(_preview(engine.database, entity))
        if whole:
            metadata["dagster/column_schema"] = column_schema(entity, engine.privacy)
    return metadata


def sync_figures(report: SyncResult) -> dict[str, int | float]:
    """What the run did, in figures.

    Given to the check `sync_ok` too: of an asset with months the UI plots one figure a month, of a
    check one figure a run.
    """
    figures: dict[str, int | float] = {name: getattr(report, name) for name in _COUNTS}
    figures["throttled_seconds"] = round(report.throttled_seconds, 3)
    if report.watermark is not None:
        late = (datetime.now(UTC) - report.watermark).total_seconds()
        figures["lag_seconds"] = round(max(late, 0), 1)  # the source's clock may be ahead of ours
    return figures


def _preview(warehouse: Database, entity: Entity) -> str:
    """The rows that changed last as a table: keys and stamps alone, nothing personal."""
    with warehouse.connection() as connection:
        names, rows = latest_rows(connection, warehouse.schema, entity)
    lines = [names, ["---"] * len(names)]
    for row in rows:
        moments = [f"{v:%Y-%m-%d %H:%M:%S}" if isinstance(v, datetime) else v for v in row]
        lines.append(["" if value is None else str(value) for value in moments])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def months_from(start: date) -> dg.MonthlyPartitionsDefinition:
    """The months from `start`'s on, the current one included."""
    return dg.MonthlyPartitionsDefinition(start_date=start.replace(day=1).isoformat(), end_offset=1)


def month_of(moment: datetime) -> str:
    """The month that a moment lies in, as the UI names it."""
    return moment.astimezone(UTC).strftime("%Y-%m-01")


def window_of_months(first: str, last: str) -> Window:
    """The window from the start of a month to the end of another."""
    since, end = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (first, last))
    return Window(since, (end + timedelta(days=32)).replace(day=1))


def within(months: Iterable[str], window: Window, now: datetime) -> list[str]:
    """Those months that lie whole in a window; the current one if the window goes up to `now`."""
    held = []
    for month in months:
        span = window_of_months(month, month)
        assert span.since is not None
        current = span.since <= now < span.until and now <= window.until
        if (window.since is None or span.since >= window.since) and (
            span.until <= window.until or current
        ):
            held.append(month)
    return held


def report_covered_months(
    instance: dg.DagsterInstance, key: dg.AssetKey, months: Sequence[str], run_id: str
) -> None:
    """Reports that the months were loaded by a run. Months that show as loaded are left alone."""
    if not months:
        return
    loaded = instance.get_materialized_partitions(key)
    missing = [
        dg.AssetMaterialization(
            key,
            partition=month,
            description="read as part of all that changed",
            metadata={"loaded_by": dg.MetadataValue.dagster_run(run_id)},
        )
        for month in months
        if month not in loaded
    ]
    if missing:
        runless_materializations(instance, missing)
