"""What the UI shows and plots of an entity's run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from cw_pipeline.dagster.asset_specs import column_schema
from cw_pipeline.warehouse.status import latest_rows

if TYPE_CHECKING:
    from cw_pipeline.model import Entity, SyncResult
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse import Warehouse

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

    The columns go along only with a whole pass: they are in the asset's definition anyhow, and
    would make up most of what a refresh every quarter of an hour leaves in Dagster's storage.
    """
    told: dict[str, Any] = {**sync_figures(report), "kind": report.kind}
    told["dagster/table_name"] = f"{engine.warehouse.tenant}.{entity.table}"
    if report.row_count is not None:
        told["dagster/row_count"] = report.row_count
    if report.watermark is not None:
        told["data_complete_through"] = dg.MetadataValue.timestamp(report.watermark)
    if report.warnings:
        told["warnings"] = dg.MetadataValue.md("\n".join(f"- {each}" for each in report.warnings))
    if whole:
        told["dagster/column_schema"] = column_schema(entity, engine.privacy)
    told["preview"] = dg.MetadataValue.md(_preview(engine.warehouse, entity))
    return told


def sync_figures(report: SyncResult) -> dict[str, int | float]:
    """What the run did, in figures.

    Given to the check `sync_ok` too: of an asset with months the UI plots one figure a month, of a
    check one figure a run.
    """
    told: dict[str, int | float] = {name: getattr(report, name) for name in _COUNTS}
    told["throttled_seconds"] = round(report.throttled_seconds, 3)
    if report.watermark is not None:
        late = (datetime.now(UTC) - report.watermark).total_seconds()
        told["lag_seconds"] = round(max(late, 0), 1)  # the source's clock may be ahead of ours
    return told


def _preview(warehouse: Warehouse, entity: Entity) -> str:
    """The rows that changed last as a table: keys and stamps alone, nothing personal."""
    with warehouse.connection() as connection:
        names, rows = latest_rows(connection, warehouse.tenant, entity)
    lines = [names, ["---"] * len(names), *([_shown(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)
