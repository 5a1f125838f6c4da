"""The rows of a report's page, and the table that they belong into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cw_pipeline.catalog.columns import POSTGRES_COLUMNS, fit_name
from cw_pipeline.catalog.naming import snake
from cw_pipeline.errors import SourceBroken
from cw_pipeline.model import Column, Entity, Kind, ReportColumn, SyncMode
from cw_pipeline.transform.raw_json import DEEPEST, decode, is_shallow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def tables_shared(reports: Iterable[str]) -> list[list[str]]:
    """Reports whose names fold into the name of one table, such as Service and service."""
    tables: dict[str, list[str]] = {}
    for name in dict.fromkeys(reports):
        tables.setdefault(report_entity(name).table, []).append(name)
    return [names for names in tables.values() if len(names) > 1]


def report_names(body: bytes) -> list[str]:
    """The names in a page of `/system/reports`. Raises SourceBroken for anything but a list."""
    names = [_name(each) for each in _decode_list(body)]
    if None in names:
        raise SourceBroken("expected reports with a name", 200)
    return [name for name in names if name is not None]


def report_columns(body: bytes, report: str) -> list[ReportColumn]:
    """The columns in an answer of `/system/reports/{name}/columns`, in order.

    A join may bring a name twice; the second is told apart by `_2`, as its values are a column of
    their own in the report's rows. Raises SourceBroken for anything but columns.
    """
    taken: set[str] = set()
    columns = []
    for position, (name, definition) in enumerate(_definitions(_decode_list(body)), 1):
        column = _untaken(name, taken)
        taken.add(column)
        columns.append(_column(report, column, definition, position))
    return columns


def _decode_list(body: bytes) -> list[Any]:
    if not is_shallow(body):
        raise SourceBroken(f"the body is nested deeper than {DEEPEST} levels", 200)
    answer = decode(body)
    if isinstance(answer, dict):
        answer = answer.get("column_definitions", [answer])
    if not isinstance(answer, list):
        raise SourceBroken("expected a list", 200)
    return answer


def _name(each: Any) -> str | None:
    if isinstance(each, dict):
        each = each.get("name") or each.get("reportName")
    return each if isinstance(each, str) and each else None


def _definitions(answer: Iterable[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and definition: `{"Col": {"type": …}}`, however many share an object."""
    for each in answer:
        if not isinstance(each, dict):
            raise SourceBroken("expected columns, each an object under its name", 200)
        for name, definition in each.items():
            if not isinstance(definition, dict):
                raise SourceBroken(f"expected the definition of the column {name}", 200)
            yield name, definition


def _untaken(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    count = 2
    while f"{name}_{count}" in taken:
        count += 1
    return f"{name}_{count}"


def _column(report: str, name: str, definition: dict[str, Any], position: int) -> ReportColumn:
    nullable = definition.get("isNullable")
    return ReportColumn(
        report=report,
        column=name,
        type=str(definition.get("type", "")),
        nullable=nullable if isinstance(nullable, bool) else None,
        position=position,
    )


PATH = "/system/reports"
_SYSTEM = (
    *("_row_hash", "_extra", "_synced_at", "_staged", "_twin"),
    *POSTGRES_COLUMNS,
)
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
    answer = decode(body)
    rows = answer.get("row_values") if isinstance(answer, dict) else None
    rows = [] if rows is None else rows
    if not isinstance(rows, list) or any(
        not isinstance(row, list) or len(row) != len(columns) for row in rows
    ):
        raise SourceBroken(f"expected rows of {len(columns)} values", 200)
    return ReportPage(columns, rows)


def report_entity(report: str, columns: Sequence[ReportColumn] = ()) -> Entity:
    """The table of a report: `ServiceNote` → report_service_note; each column typed as declared."""
    table = fit_name(f"report_{snake(report)}")
    names: list[str] = []
    for column in columns:
        names.append(_free_name(snake(column.column) or f"column_{column.position}", names))
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


def _free_name(name: str, taken: Sequence[str]) -> str:
    count, column = 1, fit_name(name)
    while column in (*taken, *_SYSTEM):
        count += 1
        column = fit_name(f"{name}_{count}")
    return column
