"""The starting points for BI tools name what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cw_pipeline.paths import SQL
from cw_pipeline.reporting.script import scripts
from tests.bi_tools.metrics import PAGES

if TYPE_CHECKING:
    from pathlib import Path

SUPERSET = SQL / "bi" / "superset"
VIEWS = {script.name: script for script in scripts()}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


DATASETS = {one["uuid"]: one for one in map(read, (SUPERSET / "datasets").rglob("*.yaml"))}
CHARTS = {one["uuid"]: one for one in map(read, (SUPERSET / "charts").glob("*.yaml"))}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda one: one["table_name"])
def test_a_dataset_has_the_columns_of_its_view_and_their_descriptions(
    dataset: dict[str, Any],
) -> None:
    script = VIEWS[dataset["table_name"]]
    assert dataset["description"] == script.comment
    shown = {column["column_name"]: column["description"] for column in dataset["columns"]}
    names = {name: text for name, text in shown.items() if name not in script.columns}
    assert shown == {**script.columns, **names}
    assert all(f".{name}" in dataset["sql"] for name in names)


def test_every_chart_asks_for_metrics_that_its_dataset_has() -> None:
    for chart in CHARTS.values():
        dataset = DATASETS[chart["dataset_uuid"]]
        params = chart["params"]
        metrics = {metric["metric_name"] for metric in dataset["metrics"]}
        assert {*params.get("metrics", []), *filter(None, [params.get("metric")])} <= metrics
        columns = {column["column_name"] for column in dataset["columns"]}
        axis = [params["x_axis"]] if "x_axis" in params else []
        assert {*params.get("all_columns", []), *params.get("groupby", []), *axis} <= columns


def test_four_dashboards_show_every_chart_once() -> None:
    shown = []
    for path in (SUPERSET / "dashboards").glob("*.yaml"):
        cells = [cell for cell in read(path)["position"].values() if isinstance(cell, dict)]
        charts = [cell["meta"] for cell in cells if cell["type"] == "CHART"]
        shown += [chart["uuid"] for chart in charts]
        assert all(CHARTS[chart["uuid"]]["slice_name"] == chart["sliceName"] for chart in charts)
    assert sorted(shown) == sorted(CHARTS)
    assert {path.stem for path in (SUPERSET / "dashboards").iterdir()} == {*PAGES}
