"""The rows of a report's page, and the table that they belong into."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.catalog.columns import fitted
from cw_pipeline.catalog.naming import snake
from cw_pipeline.errors import SourceBroken
from cw_pipeline.model import Column, Entity, Kind, ReportColumn, SyncMode
from cw_pipeline.reports_api.answers import report_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "/system/reports"
_ANY = msgspec.json.Decoder(Any, float_hook=Decimal)
_SYSTEM = ("_row_hash", "_extra", "_synced_at")
_KINDS = {
    Kind.NUMERIC: ("numeric", "number", "decimal", "double", "float", "money", "int", "integer"),
    Kind.TIMESTAMPTZ: ("datetime", "datetime2", "smalldatetime", "date"),
    Kind.BOOLEAN: ("boolean", "bool", "bit"),
}
"""By the type's name in small letters; everything else is text."""


@dataclass(frozen=True, slots=True)
class ReportPage:
    """One page of a report: its columns, and each row's values in their order."""

    columns: tuple[ReportColumn, ...]
    rows: list[list[Any]]


def report_page(body: bytes, report: str) -> ReportPage:
    """The page of a body. No rows may come as none at all. Raises SourceBroken."""
    columns = tuple(report_columns(body, report))
    answer = _ANY.decode(body)
    rows = answer.get("row_values") if isinstance(answer, dict) else None
    rows = [] if rows is None else rows
    if not isinstance(rows, list) or any(
        not isinstance(row, list) or len(row) != len(columns) for row in rows
    ):
        raise SourceBroken(f"expected rows of {len(columns)} values", 200)
    return ReportPage(columns, rows)


def report_entity(report: str, columns: Sequence[ReportColumn] = ()) -> Entity:
    """The table of a report: `ServiceNote` → report_service_note; each column typed as declared."""
    table = fitted(f"report_{snake(report)}")
    names: list[str] = []
    for column in columns:
        names.append(_untaken(snake(column.column) or f"column_{column.position}", names))
    return Entity(
        name=f"system/reports/{report}",
        path=f"{PATH}/{report}",
        # The columns of all reports are a table of their own.
        table="report_columns_" if table == "report_columns" else table,
        module="system",
        mode=SyncMode.FULL,
        columns=tuple(
            Column(name, (column.column,), kind_of(column.type))
            for name, column in zip(names, columns, strict=True)
        ),
        has_id=False,
        description=f"The report {report}",
    )


def kind_of(type_: str) -> Kind:
    """What a column of this declared type is stored as."""
    found = (kind for kind, names in _KINDS.items() if type_.lower() in names)
    return next(found, Kind.TEXT)


def _untaken(name: str, taken: Sequence[str]) -> str:
    count, own = 1, fitted(name)
    while own in (*taken, *_SYSTEM):
        count += 1
        own = fitted(f"{name}_{count}")
    return own
