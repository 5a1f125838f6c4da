"""`/system/reports`: tables of the tenant's data, typed by columns that tests may change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cw_pipeline.simulator.answers import Answer, BadQuery, as_json, refusal
from cw_pipeline.simulator.conditions import predicate
from cw_pipeline.simulator.grammar import parse
from cw_pipeline.simulator.query import page_links, question, reader, sorted_ids
from cw_pipeline.simulator.report_set import REPORTS, WITHOUT_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cw_pipeline.simulator.collection import Collection
    from cw_pipeline.simulator.query import ListRequest
    from cw_pipeline.simulator.tenant import Tenant

Type: TypeAlias = Literal["Text", "Numeric", "DateTime", "Boolean"]
Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SimulatedColumn:
    """A column and the field of the record that fills it (`board/name`)."""

    name: str
    type: Type
    path: str
    nullable: bool = True
    identity: bool = False

    def definition(self) -> dict[str, Any]:
        """The definition as the API gives it: one object with one key."""
        definition = {
            "type": self.type,
            "isNullable": self.nullable,
            "identityColumn": self.identity,
        }
        return {self.name: definition}

    def value(self, record: dict[str, Any]) -> Any:  # noqa: ANN401
        """This column's value of one record, in the column's type."""
        held = reader(tuple(self.path.lower().split("/")))(record)
        return None if held is None else _AS[self.type](held)


@dataclass(frozen=True, slots=True)
class SimulatedReport:
    """A report over one list (`{}` where a parent's id stands: over the lists of all parents)."""

    name: str
    path: str
    columns: tuple[SimulatedColumn, ...]


def _numeric(held: Any) -> Any:  # noqa: ANN401
    if isinstance(held, bool):
        return int(held)
    try:
        return held if isinstance(held, int | float) else float(held)
    except (TypeError, ValueError):
        return None


_AS: dict[Type, Callable[[Any], Any]] = {
    "Text": str,
    "DateTime": str,
    "Boolean": bool,
    "Numeric": _numeric,
}


class Reports:
    """The reports of a tenant. Their columns can be changed, as releases and admins change them."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._reports = {name: _parse_report(name, *rest) for name, rest in REPORTS.items()}
        self._made: tuple[object, list[Row]] = (None, [])

    def names(self) -> list[str]:
        """The name of every report, sorted."""
        return sorted(self._reports)

    def columns(self, name: str) -> tuple[SimulatedColumn, ...]:
        """The columns of a report, in order. Raises KeyError."""
        return self._reports[name].columns

    def add_column(self, report: str, column: str, type_: Type = "Text", path: str = "id") -> None:
        """Adds a column at the end. Raises KeyError."""
        self._change(report, (*self.columns(report), SimulatedColumn(column, type_, path)))

    def remove_column(self, report: str, column: str) -> None:
        """Takes a column out. Raises KeyError."""
        self._change(report, tuple(c for c in self.columns(report) if c.name != column))

    def retype_column(self, report: str, column: str, type_: Type) -> None:
        """Gives a column another type, and its values with it. Raises KeyError."""
        columns = self.columns(report)
        self._change(
            report, tuple(replace(c, type=type_) if c.name == column else c for c in columns)
        )

    def _change(self, report: str, columns: tuple[SimulatedColumn, ...]) -> None:
        self._reports[report] = replace(self._reports[report], columns=columns)

    def answer(
        self, name: str | None, part: str | None, url: str, query: Mapping[str, str]
    ) -> Answer:
        """Answers `/system/reports[/name[/columns|/count]]`. Raises BadQuery."""
        if name is None:
            return as_json([{"name": each} for each in self.names()])
        known = {each.lower(): report for each, report in self._reports.items()}
        report = known.get(name.lower())
        if report is None:
            return refusal(404, "NotFound", f"Report {name} not found")
        if part == "columns":
            return as_json([each.definition() for each in report.columns])
        asked = question(query)
        rows = self._rows(report, asked)
        if part == "count":
            return as_json({"count": len(rows)})
        return _table(report, rows, asked, url, query)

    def _rows(self, report: SimulatedReport, asked: ListRequest) -> list[Row]:
        """Every row that answers the conditions, in the order asked for."""
        rows = self._all(report)
        if not (asked.conditions or asked.order_by):
            return rows
        names = [column.name for column in report.columns]
        named = [(at, dict(zip(names, row, strict=True))) for at, row in enumerate(rows)]
        if asked.conditions:
            test = predicate(parse(asked.conditions), reader)
            named = [(at, row) for at, row in named if test(row)]
        return [rows[at] for at in sorted_ids(named, asked.order_by)]

    def _all(self, report: SimulatedReport) -> list[Row]:
        """The rows, made once for all pages of a report, as long as nothing changes below it."""
        lists = self._lists(report)
        stand = (report, len(lists), sum(each.version for each in lists))
        if self._made[0] != stand:
            records = (record for each in lists for record in each)
            rows = [tuple(c.value(record) for c in report.columns) for record in records]
            self._made = (stand, rows)
        return self._made[1]

    def _lists(self, report: SimulatedReport) -> list[Collection]:
        if "{}" not in report.path:
            return [self._tenant.collection(report.path)]
        return self._tenant.children(report.path)


def _parse_report(name: str, path: str, columns: str) -> SimulatedReport:
    """A report from its line in the table: `RecID:Numeric:id …`."""
    parts = (each.split(":") for each in columns.split())
    made = tuple(SimulatedColumn(n, _type(t), p, nullable=n != "RecID") for n, t, p in parts)
    return SimulatedReport(name, path, made)


def _type(text: str) -> Type:
    return next(each for each in _AS if each == text)


def _table(
    report: SimulatedReport, rows: list[Row], asked: ListRequest, url: str, query: Mapping[str, str]
) -> Answer:
    wanted = _wanted_columns(report, query)
    start = (asked.page - 1) * asked.page_size
    cut = [[row[at] for at in wanted] for row in rows[start : start + asked.page_size]]
    table: dict[str, Any] = {"column_definitions": [report.columns[i].definition() for i in wanted]}
    if cut or report.name not in WITHOUT_ROWS:
        table["row_values"] = cut
    answer = as_json(table)
    link = page_links(url, query, asked.page, -(-len(rows) // asked.page_size))
    if link:
        answer.headers["Link"] = link
    return answer


def _wanted_columns(report: SimulatedReport, query: Mapping[str, str]) -> list[int]:
    """The places of the columns that `columns=` names, in its order; all without it."""
    text = next((value for name, value in query.items() if name.lower() == "columns"), "")
    if not text:
        return list(range(len(report.columns)))
    places = {column.name.lower(): at for at, column in enumerate(report.columns)}
    names = [each.strip().lower() for each in text.split(",")]
    unknown = [each for each in names if each not in places]
    if unknown:
        raise BadQuery(f"Unknown column '{unknown[0]}'.", "columns")
    return [places[each] for each in names]
