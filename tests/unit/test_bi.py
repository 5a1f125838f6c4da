"""The starting points for BI tools name what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cw_pipeline.paths import SQL
from cw_pipeline.reporting.script import scripts

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
    assert shown == script.columns


def test_every_chart_asks_for_metrics_that_its_dataset_has() -> None:
    for chart in CHARTS.values():
        dataset = DATASETS[chart["dataset_uuid"]]
        params = chart["params"]
        metrics = {metric["metric_name"] for metric in dataset["metrics"]}
        assert {*params.get("metrics", []), *filter(None, [params.get("metric")])} <= metrics
        columns = {column["column_name"] for column in dataset["columns"]}
        assert {*params.get("all_columns", []), *params.get("groupby", [])} <= columns


def test_the_dashboard_shows_every_chart() -> None:
    (dashboard,) = map(read, (SUPERSET / "dashboards").glob("*.yaml"))
    cells = [cell for cell in dashboard["position"].values() if isinstance(cell, dict)]
    shown = {cell["meta"]["uuid"] for cell in cells if cell["type"] == "CHART"}
    assert shown == set(CHARTS)
