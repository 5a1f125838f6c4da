"""Four dashboards for Apache Superset, in the files that it exports and imports.

A dataset is a fact with the names of what it is sliced by. What a dashboard shows is what the page
of the same name of the Power BI report shows.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import yaml

from tests.bi_tools.metrics import PAGES, Metric, metrics
from tests.bi_tools.power_bi_report import BARS, CARDS, TABLES, TITLES, TRENDS
from tests.bi_tools.star import BI, relations, tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = BI / "superset"
DATABASE = "cw_pipeline"
_IDS = uuid.UUID("0d9c9a5e-1f0c-4f6e-8f57-3c6f1c1b7a02")
_VERSION = "1.0.0"
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
FORMATS = {
    "integer": ",d",
    "decimal": ",.1f",
    "hours": ",.1f",
    "money": ",.2f",
    "percent": ".1%",
}
TYPES = {
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "numeric": "NUMERIC",
    "text": "TEXT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp with time zone": "TIMESTAMP WITH TIME ZONE",
    "interval": "INTERVAL",
    "text[]": "ARRAY",
}
AS_THEY_ARE = ("freshness", "kpi_data_readiness")
"""Views that are shown row by row: how old the numbers are, and what makes them wrong."""


def files() -> dict[Path, str]:
    """The generated files, by path."""
    database = {
        "database_name": DATABASE,
        "sqlalchemy_uri": "postgresql+psycopg2://reporting_user:XXXXXXXXXX@localhost:5432/warehouse",
        "cache_timeout": None,
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "extra": {},
        "uuid": _id("database"),
        "version": _VERSION,
    }
    told = {"version": _VERSION, "type": "Dashboard", "timestamp": "2026-01-01T00:00:00+00:00"}
    made = {
        FOLDER / "metadata.yaml": _yaml(told),
        FOLDER / "databases" / "warehouse.yaml": _yaml(database),
    }
    for name in sorted({_table(metric) for metric in _shown()} | {*AS_THEY_ARE}):
        path = FOLDER / "datasets" / DATABASE / f"{name}.yaml"
        made[path] = _yaml(_dataset(name))
    for page in PAGES:
        charts = [*_charts(page)]
        for chart in charts:
            path = FOLDER / "charts" / f"{chart.pop('file')}.yaml"
            made[path] = _yaml(chart)
        made[FOLDER / "dashboards" / f"{page}.yaml"] = _yaml(_dashboard(page, charts))
    return made


def _shown() -> list[Metric]:
    """The metrics of one view alone: an expression over several there is not."""
    return [metric for metric in metrics().values() if metric.table is not None]


def _table(metric: Metric) -> str:
    assert metric.table is not None
    return metric.table


def _date(metric: Metric) -> str:
    measure = metric.first.measure
    assert measure is not None
    return measure.date


def _dataset(name: str) -> dict[str, Any]:
    table = tables()[name]
    own = [metric for metric in _shown() if metric.table == name]
    columns = [
        _column(column.name, TYPES[column.type], column.description) for column in table.columns
    ]
    joined = _joined(name)
    columns += [_column(shown, "TEXT", f"Name of {column}") for column, _, _, shown in joined]
    return {
        "table_name": name,
        "main_dttm_col": _date(own[0]) if own else None,
        "description": table.description,
        "default_endpoint": None,
        "offset": 0,
        "cache_timeout": None,
        "schema": "reporting",
        "sql": _query(name, joined) if joined else None,
        "params": None,
        "template_params": None,
        "filter_select_enabled": True,
        "fetch_values_predicate": None,
        "extra": None,
        "uuid": _id("dataset", name),
        "metrics": [
            {
                "metric_name": metric.name,
                "verbose_name": metric.label,
                "metric_type": None,
                "expression": metric.aggregate_sql(),
                "description": metric.description,
                "d3format": FORMATS[metric.format],
                "extra": None,
                "warning_text": "Of one day or month: group by it" if metric.is_stock else None,
            }
            for metric in own
        ],
        "columns": columns,
        "version": _VERSION,
        "database_uuid": _id("database"),
    }


def _joined(name: str) -> list[tuple[str, str, str, str]]:
    """The keys of a fact, with the dimension, its key, and the column that people read."""
    found = []
    for own in relations():
        shown = NAMES.get(own.dimension)
        if own.fact == name and shown is not None:
            found.append((own.column, own.dimension, own.key, shown))
    return found


def _query(name: str, joined: list[tuple[str, str, str, str]]) -> str:
    shown = "".join(f", {dim}.{column}" for _, dim, _, column in joined)
    joins = "".join(
        f"\nleft join reporting.{dim} on {dim}.{key} = f.{own}" for own, dim, key, _ in joined
    )
    return f"select f.*{shown}\nfrom reporting.{name} f{joins}"


def _column(name: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "column_name": name,
        "verbose_name": None,
        "is_dttm": kind.startswith(("DATE", "TIMESTAMP")),
        "is_active": True,
        "type": kind,
        "groupby": True,
        "filterable": True,
        "expression": None,
        "description": description,
        "python_date_format": None,
    }


def _charts(page: str) -> Iterator[dict[str, Any]]:
    yield from _figures(page)
    yield from _trends(page)
    name, _, column = BARS[page]
    metric = metrics()[name]
    bars = {"x_axis": column, "xAxisForceCategorical": True, "orientation": "horizontal"}
    bars |= {"x_axis_sort": metric.name, "x_axis_sort_asc": True}
    title = f"{metric.label} by {column.removesuffix('_name')}"
    yield _chart(page, "echarts_timeseries_bar", title, [metric], row_limit=20, **bars)
    yield from _lists(page)
    if page == PAGES[0]:
        for view in AS_THEY_ARE:
            yield _rows(page, view)


def _figures(page: str) -> Iterator[dict[str, Any]]:
    for name in CARDS[page]:
        metric = metrics()[name]
        if metric.is_stock:
            monthly = {"x_axis": _date(metric), "time_grain_sqla": _grain(metric)}
            yield _chart(page, "big_number", metric.label, [metric], **monthly)
        elif metric.table is not None:
            yield _chart(page, "big_number_total", metric.label, [metric])


def _trends(page: str) -> Iterator[dict[str, Any]]:
    """Of metrics that have their view and their day in common, one chart."""
    trends: dict[tuple[str, str], list[Metric]] = {}
    for metric in map(metrics().__getitem__, TRENDS[page]):
        if metric.table is not None:
            trends.setdefault((metric.table, _date(metric)), []).append(metric)
    for own in trends.values():
        title = " and ".join(metric.label for metric in own) + " by month"
        grain = {"x_axis": _date(own[0]), "time_grain_sqla": "P1M"}
        yield _chart(page, "echarts_timeseries_line", title, own, seriesType="line", **grain)


def _lists(page: str) -> Iterator[dict[str, Any]]:
    """Of metrics that have their view in common, one table."""
    _, column, names = TABLES[page]
    by_table: dict[str, list[Metric]] = {}
    for metric in map(metrics().__getitem__, names):
        if metric.table is not None and not metric.is_stock:
            by_table.setdefault(metric.table, []).append(metric)
    for own in by_table.values():
        title = ", ".join(metric.label for metric in own) + f" of each {column.split('_')[0]}"
        rows = {"query_mode": "aggregate", "groupby": [column], "row_limit": 100}
        yield _chart(page, "table", title, own, **rows)


def _grain(metric: Metric) -> str:
    return "P1M" if _table(metric).endswith("_month") else "P1D"


def _chart(page: str, kind: str, title: str, own: list[Metric], **params: Any) -> dict[str, Any]:
    first = own[0]
    single = kind.startswith("big_number")
    measured = {"metric": first.name} if single else {"metrics": [metric.name for metric in own]}
    period = {
        "clause": "WHERE",
        "comparator": "Last 12 months",
        "expressionType": "SIMPLE",
        "operator": "TEMPORAL_RANGE",
        "subject": _date(first),
    }
    is_now = _table(first) == "fct_ar"  # what is owed is owed today, whenever it was billed
    asked = {
        "viz_type": kind,
        **measured,
        "adhoc_filters": [] if is_now or (single and first.is_stock) else [period],
        "row_limit": 1000,
        **params,
    }
    if single:
        asked["y_axis_format"] = FORMATS[first.format]
    return _file(page, title, kind, asked, _table(first), first.description)


def _rows(page: str, view: str) -> dict[str, Any]:
    columns = [c.name for c in tables()[view].columns if c.type not in ("text[]", "interval")]
    asked = {
        "viz_type": "table",
        "query_mode": "raw",
        "all_columns": columns,
        "adhoc_filters": [],
        "row_limit": 1000,
    }
    titles = {
        "freshness": "Data complete through",
        "kpi_data_readiness": "What makes the numbers wrong",
    }
    return _file(page, titles[view], "table", asked, view, tables()[view].description)


def _file(
    page: str, title: str, kind: str, asked: dict[str, Any], table: str, text: str
) -> dict[str, Any]:
    words = "".join(letter if letter.isalnum() else "_" for letter in title.lower())
    return {
        "file": f"{page}_{words}",
        "slice_name": title,
        "description": text,
        "certified_by": None,
        "certification_details": None,
        "viz_type": kind,
        "params": asked,
        "query_context": None,
        "cache_timeout": None,
        "uuid": _id("chart", page, title),
        "version": _VERSION,
        "dataset_uuid": _id("dataset", table),
    }


def _dashboard(page: str, charts: list[dict[str, Any]]) -> dict[str, Any]:
    rows = _laid_out(charts)
    position: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {
            "type": "GRID",
            "id": "GRID_ID",
            "children": [f"ROW-{at}" for at in range(len(rows))],
            "parents": ["ROOT_ID"],
        },
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": TITLES[page]}},
    }
    number = 0
    for at, row in enumerate(rows):
        parents = ["ROOT_ID", "GRID_ID"]
        cells = [f"CHART-{number + offset}" for offset in range(len(row))]
        position[f"ROW-{at}"] = {
            "type": "ROW",
            "id": f"ROW-{at}",
            "children": cells,
            "parents": parents,
            "meta": {"background": "BACKGROUND_TRANSPARENT"},
        }
        for cell, chart in zip(cells, row, strict=True):
            is_card = chart["viz_type"].startswith("big_number")
            position[cell] = {
                "type": "CHART",
                "id": cell,
                "children": [],
                "parents": [*parents, f"ROW-{at}"],
                "meta": {
                    "chartId": number,
                    "uuid": chart["uuid"],
                    "sliceName": chart["slice_name"],
                    "width": 12 // len(row),
                    "height": 20 if is_card else 50,
                },
            }
            number += 1
    return {
        "dashboard_title": f"ConnectWise: {TITLES[page].lower()}",
        "description": "Definitions are in the descriptions of metrics and columns.",
        "css": None,
        "slug": f"connectwise-{page}",
        "uuid": _id("dashboard", page),
        "position": position,
        "metadata": {"color_scheme": "supersetColors", "cross_filters_enabled": True},
        "version": _VERSION,
    }


def _laid_out(charts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Figures in one row, the rest two to a row."""
    figures = [chart for chart in charts if chart["viz_type"].startswith("big_number")]
    others = [chart for chart in charts if chart not in figures]
    return [figures, *(others[at : at + 2] for at in range(0, len(others), 2))]


def _yaml(text: dict[str, Any]) -> str:
    return yaml.dump(
        text, Dumper=yaml.CSafeDumper, sort_keys=False, width=10_000, allow_unicode=True
    )


def _id(*names: str) -> str:
    return str(uuid.uuid5(_IDS, "/".join(names)))
