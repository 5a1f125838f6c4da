"""The starting points for BI tools name what is there."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cw_pipeline.paths import SQL
from cw_pipeline.reporting.script import scripts
from tests.bi_tools.metrics import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METABASE = SQL / "bi" / "metabase"
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


ENTITIES = {one["entity_id"]: one for one in map(read, METABASE.rglob("*.yaml"))}
CARDS = [one for one in ENTITIES.values() if "dataset_query" in one]
DASHBOARDS = [one for one in ENTITIES.values() if "dashcards" in one]


def test_ids_of_metabase_are_its_own_and_lead_to_what_is_there() -> None:
    assert len(ENTITIES) == len([*METABASE.rglob("*.yaml")])
    assert all(re.fullmatch(r"[\w-]{21}", own, re.ASCII) for own in ENTITIES)
    for one in ENTITIES.values():
        assert one["serdes/meta"][-1]["id"] == one["entity_id"]
        for key in ("collection_id", "parent_id", "dashboard_id"):
            assert one.get(key) is None or one[key] in ENTITIES
        home = ENTITIES.get(one.get("dashboard_id"), one)
        assert home["collection_id"] == one["collection_id"] if "collection_id" in one else True


@pytest.mark.parametrize("card", CARDS, ids=lambda one: f"{one['type']}: {one['name']}")
def test_a_question_of_metabase_names_columns_that_its_model_has(card: dict[str, Any]) -> None:
    (stage,) = card["dataset_query"]["stages"]
    if card["type"] == "model":
        script = VIEWS[card["name"]]
        shown = {column["name"]: column["description"] for column in card["result_metadata"]}
        assert script.columns.items() <= shown.items()
        return
    model = ENTITIES[stage["source-card"]]
    types = {column["name"]: column["base_type"] for column in model["result_metadata"]}
    fields = [(name, options["base-type"]) for options, name in fields_of(stage)]
    assert fields
    assert {*fields} <= {*types.items()}
    made = [one[1]["name"] for one in stage.get("aggregation", [])]
    assert {*card["visualization_settings"].get("graph.metrics", [])} <= {*made}


def fields_of(part: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Each field that a query names: its options and its name."""
    if isinstance(part, list) and part[:1] == ["field"]:
        yield part[1], part[2]
    elif isinstance(part, list | dict):
        for own in part.values() if isinstance(part, dict) else part:
            yield from fields_of(own)


def test_four_dashboards_of_metabase_show_every_question_once_and_filter_it() -> None:
    shown = []
    for dashboard in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        filters = {one["id"] for one in dashboard["parameters"]}
        used = set()
        for cell in dashboard["dashcards"]:
            card = ENTITIES[cell["card_id"]]
            assert card["dashboard_id"] == dashboard["entity_id"]
            shown.append(cell["card_id"])
            columns = range(cell["col"], cell["col"] + cell["size_x"])
            rows = range(cell["row"], cell["row"] + cell["size_y"])
            place = {*itertools.product(rows, columns)}
            assert columns.stop <= 24
            assert not place & taken
            taken |= place
            model = ENTITIES[card["dataset_query"]["stages"][0]["source-card"]]
            names = {column["name"] for column in model["result_metadata"]}
            for mapping in cell["parameter_mappings"]:
                used.add(mapping["parameter_id"])
                assert mapping["card_id"] == cell["card_id"]
                assert mapping["target"][1][1] in names
        assert used == filters, "a filter that nothing follows"
    questions = [one["entity_id"] for one in CARDS if one["type"] == "question"]
    assert sorted(shown) == sorted(questions)
    assert len(DASHBOARDS) == len(PAGES)


def test_both_tools_show_the_same_under_the_same_names() -> None:
    questions = {one["name"] for one in CARDS if one["type"] == "question"}
    assert questions == {one["slice_name"] for one in CHARTS.values()}
