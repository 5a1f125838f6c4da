"""What the reporting API says of the tenant's reports and their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.errors import SourceBroken
from cw_pipeline.model import ReportColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def report_names(body: bytes) -> list[str]:
    """The names in a page of `/system/reports`. Raises SourceBroken for anything but a list."""
    names = [_name(each) for each in _listed(body)]
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
    for position, (name, definition) in enumerate(_definitions(_listed(body)), 1):
        own = _untaken(name, taken)
        taken.add(own)
        columns.append(_column(report, own, definition, position))
    return columns


def _listed(body: bytes) -> list[Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceBroken(f"the body is not JSON: {error}", 200) from error
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
