"""What each metric is, as `sql/bi/dbt/models/metrics.yml` says it, and the same in SQL.

The file is in the format of dbt's semantic models. It is read here without dbt, and only as far as
its head says that it goes: what goes further is refused, so that no tool gets another number.
"""

# ruff: noqa: S608 - names are those of our own files

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.bi_tools.star import BI, tables

METRICS = BI / "dbt" / "models" / "metrics.yml"
PREFIX = "cw_"
"""What the dbt package's models are called beside the views that they show."""

_MODEL = re.compile(rf"ref\('{PREFIX}(\w+)'\)")
_FILTER = re.compile(
    r"\{\{ Dimension\('(?P<entity>\w+)__(?P<dimension>\w+)'\) \}\} "
    r"(?:(?P<operator>=|>) (?P<value>'[^']*'|true|false|\d+)|(?P<present>is not null))"
)
_AGGREGATES = {
    "sum": "sum({0})",
    "count": "count({0})",
    "count_distinct": "count(distinct {0})",
    "sum_boolean": "count(*) filter (where {0})",
}
_WORD = re.compile(r"[a-z_]\w*")
FORMATS = ("integer", "decimal", "hours", "money", "percent")
PAGES = ("service", "people", "money", "clients")


@dataclass(frozen=True, slots=True)
class Condition:
    """A column compared with a value. `operator`: =, > or `is not null`, which has no value."""

    column: str
    operator: str
    value: str | int | bool | None = None

    @property
    def sql(self) -> str:
        """The same in SQL."""
        if self.operator == "is not null":
            return f"{self.column} is not null"
        value = f"'{self.value}'" if isinstance(self.value, str) else str(self.value).lower()
        return f"{self.column} {self.operator} {value}"


@dataclass(frozen=True, slots=True)
class Measure:
    """What is aggregated: a column of a view, or its rows (`column` is None)."""

    table: str
    aggregate: str
    column: str | None
    date: str
    """The column of the day that it belongs to."""
    is_stock: bool
    """Adds up over everything but days: of several, the last counts."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. A simple one has a measure, others are made of `parts`."""

    name: str
    label: str
    description: str
    type: str
    meta: dict[str, Any]
    measure: Measure | None = None
    conditions: tuple[Condition, ...] = ()
    is_filled: bool = False
    """Where there is no row it is 0, so that others can be added to it and taken off."""
    parts: tuple[str, ...] = ()
    expression: str = ""

    @property
    def page(self) -> str:
        """The dashboard it belongs to."""
        return str(self.meta["page"])

    @property
    def format(self) -> str:
        """One of FORMATS."""
        return str(self.meta["format"])

    @property
    def sources(self) -> tuple[Metric, ...]:
        """The metrics that it is made of."""
        return tuple(metrics()[name] for name in self.parts)

    @property
    def table(self) -> str | None:
        """The view that it comes from; None if it comes from several."""
        if self.measure is not None:
            return self.measure.table
        found = {part.table for part in self.sources}
        return found.pop() if len(found) == 1 else None

    @property
    def first(self) -> Metric:
        """The simple metric that it begins with: whose day it goes by."""
        return self if self.measure is not None else self.sources[0].first

    @property
    def is_stock(self) -> bool:
        """Whether it adds up over everything but days."""
        if self.measure is not None:
            return self.measure.is_stock
        return any(part.is_stock for part in self.sources)

    def aggregate_sql(self) -> str:
        """The metric as one expression over the rows of its view; of a stock, those of one day."""
        if self.measure is not None:
            measure = self.measure
            one = _AGGREGATES[measure.aggregate].format(measure.column or "*")
            conditions = [condition.sql for condition in self.conditions]
            if conditions and " filter (where " in one:
                one = f"{one.removesuffix(')')} and {' and '.join(conditions)})"
            elif conditions:
                one = f"{one} filter (where {' and '.join(conditions)})"
            return f"coalesce({one}, 0)" if self.is_filled else one
        parts = {part.name: part.aggregate_sql() for part in self.sources}
        return self._combined(parts)

    def query(self, schema: str = "reporting", days: str = "") -> str:
        """A query for the metric from its own rows, of all that there is.

        `days`: a condition on its `{date}`, which a stock has none for.
        """
        return f"select {self._whole(schema, days)} as {self.name}"

    def _whole(self, schema: str, days: str) -> str:
        if self.measure is None:
            return self._combined({part.name: part._whole(schema, days) for part in self.sources})
        table = f"{schema}.{self.measure.table}"
        conditions = [condition.sql for condition in self.conditions]
        if self.measure.is_stock:
            date = self.measure.date
            conditions.append(f"{date} = (select max({date}) from {table})")
        elif days:
            conditions.append(days.format(date=self.measure.date))
        one = _AGGREGATES[self.measure.aggregate].format(self.measure.column or "*")
        where = f" where {' and '.join(conditions)}" if conditions else ""
        one = f"coalesce({one}, 0)" if self.is_filled else one
        return f"(select {one} from {table}{where})"

    def _combined(self, parts: dict[str, str]) -> str:
        if self.type == "ratio":
            above, below = self.parts
            return f"{parts[above]}::numeric / nullif({parts[below]}, 0)"
        return "(" + _WORD.sub(lambda word: parts[word[0]], self.expression) + ")"


@cache
def metrics() -> dict[str, Metric]:
    """All of them, by name. Raises ValueError for what goes beyond the format's part used here."""
    text: dict[str, Any] = yaml.safe_load(METRICS.read_text("utf-8"))
    models = {model["name"]: model for model in text["semantic_models"]}
    measures = {
        measure["name"]: _measure(model, measure)
        for model in models.values()
        for measure in model.get("measures", [])
    }
    primary = {_primary(model): model for model in models.values()}
    return {one["name"]: _metric(one, measures, primary) for one in text["metrics"]}


def _primary(model: dict[str, Any]) -> str:
    return next(str(e["name"]) for e in model["entities"] if e["type"] == "primary")


def _table(model: dict[str, Any]) -> str:
    found = _MODEL.fullmatch(model["model"])
    if found is None or found[1] not in tables():
        raise ValueError(f"semantic model {model['name']}: {model['model']} shows no view of ours")
    return found[1]


def _column(model: dict[str, Any], dimension: str) -> str:
    own = next(one for one in model["dimensions"] if one["name"] == dimension)
    return tables()[_table(model)].column(own.get("expr", dimension)).name


def _measure(model: dict[str, Any], measure: dict[str, Any]) -> Measure:
    table = _table(model)
    expression = measure.get("expr", measure["name"])
    column = None if expression == "1" else tables()[table].column(expression).name
    if measure["agg"] not in _AGGREGATES:
        raise ValueError(f"measure {measure['name']}: aggregate {measure['agg']}")
    default = model["defaults"]["agg_time_dimension"]
    date = _column(model, measure.get("agg_time_dimension", default))
    stock = measure.get("non_additive_dimension")
    if stock and (stock["name"] != default or stock["window_choice"] != "max"):
        raise ValueError(f"measure {measure['name']}: only the last day of its own date counts")
    return Measure(table, measure["agg"], column, date, stock is not None)


def _metric(
    one: dict[str, Any], measures: dict[str, Measure], primary: dict[str, dict[str, Any]]
) -> Metric:
    meta = one["config"]["meta"]
    if meta["format"] not in FORMATS or meta["page"] not in PAGES:
        raise ValueError(f"metric {one['name']}: format or page")
    common = (one["name"], one["label"], one["description"], one["type"], meta)
    given = one["type_params"]
    if one["type"] == "ratio":
        return Metric(*common, parts=(given["numerator"], given["denominator"]))
    if one["type"] == "derived":
        if "/" in given["expr"]:  # of whole numbers SQL would drop the rest
            raise ValueError(f"metric {one['name']}: what is divided is a ratio")
        return Metric(*common, parts=tuple(given["metrics"]), expression=given["expr"])
    if one["type"] != "simple":
        raise ValueError(f"metric {one['name']}: type {one['type']}")
    asked = given["measure"]
    if isinstance(asked, str):
        asked = {"name": asked}
    if asked.keys() - {"name", "fill_nulls_with"} or asked.get("fill_nulls_with", 0) != 0:
        raise ValueError(f"metric {one['name']}: of its measure only nulls can be filled, by 0")
    filters = one.get("filter", [])
    conditions = [
        _condition(text, primary) for text in ([filters] if isinstance(filters, str) else filters)
    ]
    return Metric(
        *common,
        measure=measures[asked["name"]],
        conditions=tuple(conditions),
        is_filled="fill_nulls_with" in asked,
    )


def _condition(text: str, primary: dict[str, dict[str, Any]]) -> Condition:
    found = _FILTER.fullmatch(text)
    if found is None:
        raise ValueError(f"filter {text!r}: a single comparison is all that is understood")
    column = _column(primary[found["entity"]], found["dimension"])
    if found["present"]:
        return Condition(column, "is not null")
    return Condition(column, found["operator"], yaml.safe_load(found["value"]))
