"""Four dashboards for Metabase, in the files of its serialization.

A dataset is a model in SQL; its metrics, and the questions of the dashboards, are in Metabase's own
query language on top of it, so that they can be drilled into and filtered. Ids are made of names:
an import changes what an earlier one made.
"""

from __future__ import annotations

import ast
import base64
import uuid
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tests.bi_tools.dashboards import (
    TITLES,
    Chart,
    Dataset,
    charts,
    datasets,
    date_of,
    table_of,
    widths,
)
from tests.bi_tools.metrics import PAGES, Condition, Metric, metrics
from tests.bi_tools.star import BI, tables, to_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = BI / "metabase"
DATABASE = "ConnectWise"
"""What the connection is called in Metabase: the files find it by that name."""
_CREATOR = "internal@metabase.com"  # Metabase's own user, in every installation
_IDS = uuid.UUID("5f6fd4a8-0f3b-4c57-9a86-4c0f2d2a6b17")
_ROOT = ("collection", "ConnectWise")
_PARTS = {"models": "Models", "metrics": "Metrics"}
"""Collections within that of the dashboards."""
TYPES = {
    "bigint": "type/BigInteger",
    "integer": "type/Integer",
    "numeric": "type/Decimal",
    "text": "type/Text",
    "boolean": "type/Boolean",
    "date": "type/Date",
    "timestamp with time zone": "type/DateTimeWithLocalTZ",
}
"""PostgreSQL's types, in Metabase's words. A column of another one is left out of models."""
FORMATS: dict[str, dict[str, Any]] = {
    "integer": {"number_style": "decimal", "decimals": 0},
    "decimal": {"number_style": "decimal", "decimals": 1},
    "hours": {"number_style": "decimal", "decimals": 1},
    "money": {"number_style": "decimal", "decimals": 2},
    "percent": {"number_style": "percent", "decimals": 1},
}
_DISPLAYS = {
    "figure": "scalar",
    "latest": "smartscalar",
    "trend": "line",
    "bars": "row",
    "list": "table",
    "rows": "table",
}
_FILTERS = {
    "Period": {"type": "date/all-options", "sectionId": "date", "default": "past12months~"},
    "Client": {"type": "string/=", "sectionId": "string"},
}
"""Of a dashboard, where its questions have a day or a client."""
_LIMITS = {"bars": 20, "list": 100}
_WIDTH = 24
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}

Clause = list[Any]


def files() -> dict[Path, str]:
    """The generated files, by path."""
    top = FOLDER / "collections" / "main"
    within = top / _slug(_ROOT[1])
    root = _collection(_ROOT[1], "Service, people, money and clients", None)
    made = {top / f"{_slug(_ROOT[1])}.yaml": root}
    told = {
        "models": "What questions ask: facts with the names of what they are sliced by",
        "metrics": "What each number is. Rates are divided after summing",
    }
    for part, name in _PARTS.items():
        made[within / f"{part}.yaml"] = _collection(name, told[part], _id(*_ROOT))
    for dataset in datasets().values():
        made[within / "models" / f"{dataset.name}.yaml"] = _model(dataset)
        for metric in dataset.metrics:
            made[within / "metrics" / f"{metric.name}.yaml"] = _metric_card(metric)
    for page in PAGES:
        made[within / f"{page}.yaml"] = _dashboard(page)
        for chart in charts(page):
            made[within / page / f"{_slug(chart.title)}.yaml"] = _question(chart)
    return {path: to_yaml(text) for path, text in made.items()}


def _collection(name: str, description: str, parent: str | None) -> dict[str, Any]:
    own = _id("collection", name)
    return {
        "name": name,
        "entity_id": own,
        "description": description,
        "slug": _slug(name),
        "parent_id": parent,
        **_meta("Collection", own, name),
    }


def _model(dataset: Dataset) -> dict[str, Any]:
    query = dataset.query or f"select * from reporting.{dataset.name}"  # noqa: S608 - our own name
    stage = {"lib/type": "mbql.stage/native", "native": query}
    return {
        **_card("model", dataset.name, dataset.name, dataset.description, "table"),
        "collection_id": _id("collection", _PARTS["models"]),
        "dataset_query": _query(stage),
        "result_metadata": [_result(dataset, column.name) for column in dataset.columns],
        "visualization_settings": {},
    }


def _result(dataset: Dataset, name: str) -> dict[str, Any]:
    column = dataset.column(name)
    kind = TYPES.get(column.type, "type/*")
    meant = "type/PK" if name == tables()[dataset.name].key else None
    if name.endswith("_name"):
        meant = "type/Category"
    return {
        "name": name,
        "display_name": name.replace("_", " ").capitalize(),
        "description": column.description,
        "base_type": kind,
        "effective_type": kind,
        "semantic_type": meant,
        "field_ref": ["field", name, {"base-type": kind}],
    }


def _metric_card(metric: Metric) -> dict[str, Any]:
    dataset = _dataset_of(metric)
    unit = "day" if metric.is_stock and not dataset.name.endswith("_month") else "month"
    said = metric.description
    if metric.is_stock:
        said += f" Of one {unit} at a time: group it by no longer time."
    if also := metric.meta.get("also_called"):
        said += f" Also called: {', '.join(also)}."
    asked = {
        "aggregation": [_aggregation(metric)],
        "breakout": [_field(dataset, date_of(metric), unit)],
    }
    return {
        **_card("metric", metric.name, metric.label, said, "line"),
        "collection_id": _id("collection", _PARTS["metrics"]),
        "dataset_query": _query(_on(dataset, asked)),
        "visualization_settings": _formats([metric]),
    }


def _question(chart: Chart) -> dict[str, Any]:
    display = _DISPLAYS[chart.kind]
    return {
        **_card("question", f"{chart.page}/{chart.title}", chart.title, chart.description, display),
        "collection_id": _id(*_ROOT),
        "dashboard_id": _id("dashboard", chart.page),
        "dataset_query": _query(_on(datasets()[chart.table], _asked(chart))),
        "visualization_settings": _settings(chart),
    }


def _asked(chart: Chart) -> dict[str, Any]:
    dataset = datasets()[chart.table]
    if chart.kind == "rows":
        columns = [c.name for c in dataset.columns if c.type in TYPES]
        return {"fields": [_field(dataset, name) for name in columns]}
    asked: dict[str, Any] = {"aggregation": [_aggregation(one) for one in chart.metrics]}
    if chart.by:
        asked["breakout"] = [_field(dataset, chart.by, chart.grain)]
    if chart.kind in _LIMITS:
        first = ["aggregation", {}, asked["aggregation"][0][1]["lib/uuid"]]
        asked["order-by"] = [["desc", {}, first]]
        asked["limit"] = _LIMITS[chart.kind]
    return asked


def _aggregation(metric: Metric) -> Clause:
    clause = expression(metric)
    clause[1] = {
        "lib/uuid": str(uuid.uuid5(_IDS, metric.name)),
        "name": metric.name,
        "display-name": metric.label,
    }
    return clause


def expression(metric: Metric) -> Clause:
    """The metric in Metabase's query language, over the rows of its model."""
    if metric.measure is not None:
        one = _simple(metric)
        return ["coalesce", {}, one, 0] if metric.is_filled else one
    if metric.type == "ratio":
        above, below = map(expression, metric.sources)
        return ["/", {}, above, below]
    made = _derived(ast.parse(metric.expression, mode="eval").body)
    assert isinstance(made, list)
    return made


def _derived(node: ast.expr) -> Clause | int:
    if isinstance(node, ast.Name):
        return expression(metrics()[node.id])
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return [_OPERATORS[type(node.op)], {}, _derived(node.left), _derived(node.right)]
    raise ValueError(
        f"{ast.unparse(node)}: of metrics only sums, differences and products are made"
    )


def _simple(metric: Metric) -> Clause:
    measure = metric.measure
    assert measure is not None
    dataset = _dataset_of(metric)
    where = [_condition(dataset, condition) for condition in metric.conditions]
    if measure.column is None:
        return _where("count", where)
    column = _field(dataset, measure.column)
    if measure.aggregate == "sum_boolean":
        return _where("count", [["=", {}, column, True], *where])
    if measure.aggregate == "count":
        return _where("count", [["not-null", {}, column], *where])
    return _where({"sum": "sum", "count_distinct": "distinct"}[measure.aggregate], where, column)


def _where(name: str, where: list[Clause], *of: Clause) -> Clause:
    if not where:
        return [name, {}, *of]
    condition = where[0] if len(where) == 1 else ["and", {}, *where]
    return [f"{name}-where", {}, *of, condition]


def _condition(dataset: Dataset, condition: Condition) -> Clause:
    column = _field(dataset, condition.column)
    if condition.operator == "is not null":
        return ["not-null", {}, column]
    return [condition.operator, {}, column, condition.value]


def _field(dataset: Dataset, name: str, unit: str = "") -> Clause:
    options = {"base-type": TYPES[dataset.column(name).type]}
    return ["field", options | ({"temporal-unit": unit} if unit else {}), name]


def _dataset_of(metric: Metric) -> Dataset:
    return datasets()[table_of(metric)]


def _on(dataset: Dataset, asked: dict[str, Any]) -> dict[str, Any]:
    source = _id("model", dataset.name)
    return {"lib/type": "mbql.stage/mbql", "source-card": source, **asked}


def _query(stage: dict[str, Any]) -> dict[str, Any]:
    return {"lib/type": "mbql/query", "database": DATABASE, "stages": [stage]}


def _card(kind: str, key: str, name: str, description: str, display: str) -> dict[str, Any]:
    own = _id(kind, key)
    return {
        "name": name,
        "entity_id": own,
        "type": kind,
        "description": description,
        "display": display,
        "creator_id": _CREATOR,
        "parameters": [],
        "parameter_mappings": [],
        **_meta("Card", own, name),
    }


def _settings(chart: Chart) -> dict[str, Any]:
    names = [metric.name for metric in chart.metrics]
    settings = _formats(chart.metrics)
    if chart.kind in ("figure", "latest"):
        settings["scalar.field"] = names[0]
    if chart.kind in ("trend", "bars"):
        settings["graph.dimensions"] = [chart.by]
        settings["graph.metrics"] = names
    return settings


def _formats(shown: tuple[Metric, ...] | list[Metric]) -> dict[str, Any]:
    columns = {f'["name","{metric.name}"]': FORMATS[metric.format] for metric in shown}
    return {"column_settings": columns} if columns else {}


def _dashboard(page: str) -> dict[str, Any]:
    own = _id("dashboard", page)
    shown = [*charts(page)]
    cells = [*_places(page, shown)]
    used = {mapping["parameter_id"] for cell in cells for mapping in cell["parameter_mappings"]}
    return {
        "name": f"ConnectWise: {TITLES[page].lower()}",
        "entity_id": own,
        "description": "Definitions are in the descriptions of questions, metrics and columns.",
        "creator_id": _CREATOR,
        "collection_id": _id(*_ROOT),
        "width": "full",
        "auto_apply_filters": True,
        "parameters": [
            {"id": _id("parameter", page, name), "name": name, "slug": name.lower(), **filtered}
            for name, filtered in _FILTERS.items()
            if _id("parameter", page, name) in used
        ],
        "tabs": [],
        "dashcards": cells,
        **_meta("Dashboard", own, page),
    }


def _places(page: str, shown: list[Chart]) -> Iterator[dict[str, Any]]:
    """Figures in one row, the rest two to a row."""
    figures = [chart for chart in shown if chart.kind in ("figure", "latest")]
    others = [chart for chart in shown if chart not in figures]
    rows = [figures, *(others[at : at + 2] for at in range(0, len(others), 2))]
    top = 0
    for row in rows:
        height = 3 if row is figures else 8
        left = 0
        for chart, width in zip(row, widths(len(row), _WIDTH), strict=True):
            own = _id("dashcard", page, chart.title)
            yield {
                "entity_id": own,
                "card_id": _id("question", f"{page}/{chart.title}"),
                "row": top,
                "col": left,
                "size_x": width,
                "size_y": height,
                "parameter_mappings": [*_mappings(chart)],
                "series": [],
                "visualization_settings": {},
                "serdes/meta": [
                    {"id": _id("dashboard", page), "model": "Dashboard"},
                    {"id": own, "model": "DashboardCard"},
                ],
            }
            left += width
        top += height


def _mappings(chart: Chart) -> Iterator[dict[str, Any]]:
    dataset = datasets()[chart.table]
    filtered = {"Period": chart.date} if chart.is_recent else {}
    if chart.kind != "rows" and any(c.name == "company_name" for c in dataset.columns):
        filtered["Client"] = "company_name"
    for name, column in filtered.items():
        _, options, _ = _field(dataset, column)
        yield {
            "card_id": _id("question", f"{chart.page}/{chart.title}"),
            "parameter_id": _id("parameter", chart.page, name),
            "target": ["dimension", ["field", column, options], {"stage-number": 0}],
        }


def _meta(model: str, own: str, name: str) -> dict[str, Any]:
    return {"serdes/meta": [{"id": own, "label": _slug(name), "model": model}]}


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower())


def _id(*names: str) -> str:
    """A NanoID, the same for the same names, always."""
    return base64.urlsafe_b64encode(sha256("/".join(names).encode()).digest()).decode()[:21]
