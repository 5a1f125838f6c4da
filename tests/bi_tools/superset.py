"""Four dashboards for Apache Superset, in the files that it exports and imports."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from tests.bi_tools.dashboards import TITLES, Chart, Dataset, charts, datasets, date_of, widths
from tests.bi_tools.metrics import PAGES
from tests.bi_tools.star import BI, Column, to_yaml

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = BI / "superset"
DATABASE = "cw_pipeline"
_IDS = uuid.UUID("0d9c9a5e-1f0c-4f6e-8f57-3c6f1c1b7a02")
_VERSION = "1.0.0"
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
        FOLDER / "metadata.yaml": to_yaml(told),
        FOLDER / "databases" / "warehouse.yaml": to_yaml(database),
    }
    for dataset in datasets().values():
        path = FOLDER / "datasets" / DATABASE / f"{dataset.name}.yaml"
        made[path] = to_yaml(_dataset(dataset))
    for page in PAGES:
        drawn = [_chart(chart) for chart in charts(page)]
        for chart in drawn:
            path = FOLDER / "charts" / f"{chart.pop('file')}.yaml"
            made[path] = to_yaml(chart)
        made[FOLDER / "dashboards" / f"{page}.yaml"] = to_yaml(_dashboard(page, drawn))
    return made


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "table_name": dataset.name,
        "main_dttm_col": date_of(dataset.metrics[0]) if dataset.metrics else None,
        "description": dataset.description,
        "default_endpoint": None,
        "offset": 0,
        "cache_timeout": None,
        "schema": "reporting",
        "sql": dataset.query,
        "params": None,
        "template_params": None,
        "filter_select_enabled": True,
        "fetch_values_predicate": None,
        "extra": None,
        "uuid": _id("dataset", dataset.name),
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
            for metric in dataset.metrics
        ],
        "columns": [_column(column) for column in dataset.columns],
        "version": _VERSION,
        "database_uuid": _id("database"),
    }


def _column(column: Column) -> dict[str, Any]:
    kind = TYPES[column.type]
    return {
        "column_name": column.name,
        "verbose_name": None,
        "is_dttm": kind.startswith(("DATE", "TIMESTAMP")),
        "is_active": True,
        "type": kind,
        "groupby": True,
        "filterable": True,
        "expression": None,
        "description": column.description,
        "python_date_format": None,
    }


_KINDS = {
    "figure": "big_number_total",
    "latest": "big_number",
    "trend": "echarts_timeseries_line",
    "bars": "echarts_timeseries_bar",
    "list": "table",
    "rows": "table",
}
_PERIOD = "DATETRUNC(DATEADD(DATETIME('now'), -11, MONTH), MONTH) : now"
"""Twelve whole months, this one to today: a part of a month would look like a fall."""
_GRAINS = {"day": "P1D", "month": "P1M"}


def _chart(chart: Chart) -> dict[str, Any]:
    kind = _KINDS[chart.kind]
    words = "".join(letter if letter.isalnum() else "_" for letter in chart.title.lower())
    return {
        "file": f"{chart.page}_{words}",
        "slice_name": chart.title,
        "description": chart.description,
        "certified_by": None,
        "certification_details": None,
        "viz_type": kind,
        "params": {"viz_type": kind, **_asked(chart)},
        "query_context": None,
        "cache_timeout": None,
        "uuid": _id("chart", chart.page, chart.title),
        "version": _VERSION,
        "dataset_uuid": _id("dataset", chart.table),
    }


def _asked(chart: Chart) -> dict[str, Any]:
    if chart.kind == "rows":
        columns = datasets()[chart.table].columns
        names = [c.name for c in columns if c.type not in ("text[]", "interval")]
        return {
            "query_mode": "raw",
            "all_columns": names,
            "adhoc_filters": [],
            "row_limit": 1000,
        }
    names = [metric.name for metric in chart.metrics]
    is_single = chart.kind in ("figure", "latest")
    period = {
        "clause": "WHERE",
        "comparator": _PERIOD,
        "expressionType": "SIMPLE",
        "operator": "TEMPORAL_RANGE",
        "subject": chart.date,
    }
    return {
        **({"metric": names[0]} if is_single else {"metrics": names}),
        "adhoc_filters": [period] if chart.is_recent else [],
        "row_limit": 1000,
        **_grouped(chart),
        **({"y_axis_format": FORMATS[chart.metrics[0].format]} if is_single else {}),
    }


def _grouped(chart: Chart) -> dict[str, Any]:
    if chart.kind == "latest":
        return {"x_axis": chart.by, "time_grain_sqla": _GRAINS[chart.grain]}
    if chart.kind == "trend":
        return {"seriesType": "line", "x_axis": chart.by, "time_grain_sqla": _GRAINS[chart.grain]}
    if chart.kind == "bars":
        return {
            "row_limit": 20,
            "x_axis": chart.by,
            "xAxisForceCategorical": True,
            "orientation": "horizontal",
            "x_axis_sort": chart.metrics[0].name,
            "x_axis_sort_asc": True,
        }
    if chart.kind == "list":
        return {"query_mode": "aggregate", "groupby": [chart.by], "row_limit": 100}
    return {}


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
        for cell, chart, width in zip(cells, row, widths(len(row), 12), strict=True):
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
                    "width": width,
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


def _id(*names: str) -> str:
    return str(uuid.uuid5(_IDS, "/".join(names)))
