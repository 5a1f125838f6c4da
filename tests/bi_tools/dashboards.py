"""What the four dashboards show, in whatever tool, and the datasets that their charts ask.

A dataset is a fact with the names of what it is sliced by. Of metrics only those of one view alone
are shown where a tool asks one dataset a chart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.bi_tools.metrics import PAGES, Metric, metrics
from tests.bi_tools.star import Column, relations, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLES = {"service": "Service", "people": "People", "money": "Money", "clients": "Clients"}
CARDS = {
    "service": ("tickets_opened", "tickets_closed", "backlog", "sla_rate", "first_touch_rate"),
    "people": ("utilization", "billable_rate", "realization", "hours_worked", "late_entry_rate"),
    "money": ("mrr", "arr", "balance_open", "balance_overdue", "win_rate"),
    "clients": ("client_revenue", "client_profit", "client_margin", "revenue_per_hour"),
}
TRENDS = {
    "service": ("tickets_opened", "tickets_closed"),
    "people": ("hours_capacity", "hours_utilized", "hours_billable"),
    "money": ("revenue_invoiced", "mrr"),
    "clients": ("client_revenue", "client_cost"),
}
BARS = {
    "service": ("average_minutes_to_respond", "dim_board", "board_name"),
    "people": ("utilization", "dim_member", "member_name"),
    "money": ("balance_overdue", "dim_company", "company_name"),
    "clients": ("client_margin", "dim_company", "company_name"),
}
TABLES = {
    "service": ("dim_company", "company_name", ("tickets_opened", "tickets_closed", "sla_rate")),
    "people": ("dim_member", "member_name", ("hours_worked", "utilization", "late_entry_rate")),
    "money": ("dim_company", "company_name", ("mrr", "balance_open", "balance_overdue")),
    "clients": ("dim_company", "company_name", ("client_revenue", "client_profit", "budget_used")),
}
AS_THEY_ARE = {
    "freshness": "Data complete through",
    "kpi_data_readiness": "What makes the numbers wrong",
}
"""Views that are shown row by row: how old the numbers are, and what makes them wrong."""
NAMES = {
    "dim_company": "company_name",
    "dim_board": "board_name",
    "dim_member": "member_name",
    "dim_priority": "priority_name",
    "dim_agreement": "agreement_name",
    "dim_currency": "currency_identifier",
    "dim_location": "location_name",
    "dim_department": "department_name",
}
"""What a fact is sliced by, and the column that people read."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A view, with the names that its keys lead to. `metrics`: those that ask it alone."""

    name: str
    description: str
    columns: tuple[Column, ...]
    query: str | None
    """None if it is the view as it is."""
    metrics: tuple[Metric, ...]

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure (`latest`: the last one of a stock), lines by month, bars, or a table.

    `by`: the column of the groups, `grain`: day or month where `by` is a date. `is_recent`: the
    last twelve months are asked for. `rows` shows a view as it is.
    """

    kind: Literal["figure", "latest", "trend", "bars", "list", "rows"]
    page: str
    title: str
    table: str
    metrics: tuple[Metric, ...]
    description: str
    by: str = ""
    grain: Literal["day", "month", ""] = ""

    @property
    def date(self) -> str:
        """The column of the day that its first metric goes by."""
        return date_of(self.metrics[0])

    @property
    def is_recent(self) -> bool:
        """Whether it asks for the last twelve months. What is owed is owed today."""
        return self.kind not in ("latest", "rows") and self.table != "fct_ar"


def shown_metrics() -> list[Metric]:
    """The metrics of one view alone: an expression over several there is not."""
    return [metric for metric in metrics().values() if metric.table is not None]


def table_of(metric: Metric) -> str:
    """The view of a metric of one view."""
    assert metric.table is not None
    return metric.table


def date_of(metric: Metric) -> str:
    """The column of the day that a metric goes by."""
    measure = metric.first.measure
    assert measure is not None
    return measure.date


def datasets() -> dict[str, Dataset]:
    """All that charts ask, by name."""
    names = {table_of(metric) for metric in shown_metrics()} | {*AS_THEY_ARE}
    return {name: _dataset(name) for name in sorted(names)}


def _dataset(name: str) -> Dataset:
    table = tables()[name]
    named = [
        (own, NAMES[own.dimension])
        for own in relations()
        if own.fact == name and own.dimension in NAMES
    ]
    columns = [Column(shown, "text", f"Name of {own.column}") for own, shown in named]
    query = None
    if named:
        more = "".join(f", {own.dimension}.{shown}" for own, shown in named)
        joins = "".join(
            f"\nleft join reporting.{own.dimension} on {own.dimension}.{own.key} = f.{own.column}"
            for own, _ in named
        )
        query = f"select f.*{more}\nfrom reporting.{name} f{joins}"
    own_metrics = tuple(metric for metric in shown_metrics() if metric.table == name)
    return Dataset(name, table.description, (*table.columns, *columns), query, own_metrics)


def charts(page: str) -> Iterator[Chart]:
    """The charts of a dashboard, in their order."""
    yield from _figures(page)
    yield from _trends(page)
    name, _, column = BARS[page]
    metric = metrics()[name]
    title = f"{metric.label} by {column.removesuffix('_name')}"
    yield Chart("bars", page, title, table_of(metric), (metric,), metric.description, column)
    yield from _lists(page)
    if page == PAGES[0]:
        for view, title in AS_THEY_ARE.items():
            yield Chart("rows", page, title, view, (), tables()[view].description)


def widths(count: int, of: int) -> list[int]:
    """A row of so many columns in so many parts: the first ones get what does not divide."""
    return [of // count + (at < of % count) for at in range(count)]


def _figures(page: str) -> Iterator[Chart]:
    for metric in map(metrics().__getitem__, CARDS[page]):
        if metric.table is None:
            continue
        told = (page, metric.label, metric.table, (metric,), metric.description)
        if metric.is_stock:
            grain: Literal["day", "month"] = "month" if metric.table.endswith("_month") else "day"
            yield Chart("latest", *told, date_of(metric), grain)
        else:
            yield Chart("figure", *told)


def _trends(page: str) -> Iterator[Chart]:
    """Of metrics that have their view and their day in common, one chart."""
    trends: dict[tuple[str, str], list[Metric]] = {}
    for metric in map(metrics().__getitem__, TRENDS[page]):
        if metric.table is not None:
            trends.setdefault((metric.table, date_of(metric)), []).append(metric)
    for (table, date), own in trends.items():
        title = " and ".join(metric.label for metric in own) + " by month"
        yield Chart("trend", page, title, table, tuple(own), own[0].description, date, "month")


def _lists(page: str) -> Iterator[Chart]:
    """Of metrics that have their view in common, one table."""
    _, column, names = TABLES[page]
    by_table: dict[str, list[Metric]] = {}
    for metric in map(metrics().__getitem__, names):
        if metric.table is not None and not metric.is_stock:
            by_table.setdefault(metric.table, []).append(metric)
    for table, own in by_table.items():
        title = ", ".join(metric.label for metric in own) + f" of each {column.split('_')[0]}"
        yield Chart("list", page, title, table, tuple(own), own[0].description, column)
