"""The starting points for BI tools are made of the reporting schema as it is."""

from __future__ import annotations

import pytest
import yaml

from cw_pipeline.dagster.asset_specs import asset_key
from cw_pipeline.reporting import reporting_schema
from tests.bi_tools import dbt
from tests.bi_tools.__main__ import made
from tests.bi_tools.metrics import METRICS, PREFIX, Metric, metrics
from tests.bi_tools.star import BI, relations, tables

AGAIN = "python -m tests.bi_tools --types"


def test_the_files_are_those_that_are_made_of_the_schema_now() -> None:
    differs = [
        path.relative_to(BI)
        for path, text in made().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    assert differs == [], AGAIN


def test_no_file_is_left_of_what_is_made_no_more() -> None:
    there = {*(dbt.PACKAGE / "models").iterdir()} - {METRICS}
    assert there - {*made()} == set()


@pytest.mark.parametrize("metric", metrics().values(), ids=lambda metric: metric.name)
def test_a_metric_says_what_it_is_and_a_rate_which_way_is_better(metric: Metric) -> None:
    assert metric.label[0].isupper()
    assert metric.description.endswith(".")
    assert metric.meta.keys() <= {"page", "format", "higher_is_better", "also_called", "equals"}
    if metric.format == "percent":
        assert "higher_is_better" in metric.meta
        assert metric.type == "ratio", "sums first, then divided: an average of rates is wrong"


def test_labels_of_a_page_are_not_taken_for_each_other() -> None:
    labels = [(metric.page, metric.label) for metric in metrics().values()]
    assert len(labels) == len({*labels})


def test_every_relation_leads_from_a_column_to_the_key_of_a_dimension() -> None:
    assert len(relations()) > 150
    for relation in relations():
        own = tables()[relation.fact].column(relation.column)
        theirs = tables()[relation.dimension].column(relation.key)
        assert relation.key == tables()[relation.dimension].key
        assert {own.type, theirs.type} <= {"integer", "bigint"}


def test_sources_of_dbt_have_the_keys_of_our_assets() -> None:
    source = yaml.load(made()[dbt.PACKAGE / "models" / "sources.yml"], yaml.CSafeLoader)["sources"][
        0
    ]
    schema = reporting_schema("connectwise")
    for table in source["tables"]:
        assert asset_key(schema, table["name"]).path == [source["name"], table["name"]]


def test_every_semantic_model_shows_a_view_that_the_package_makes() -> None:
    text = yaml.safe_load(METRICS.read_text("utf-8"))
    for model in text["semantic_models"]:
        name = model["model"].removeprefix("ref('").removesuffix("')")
        assert name.startswith(PREFIX)
        assert dbt.PACKAGE / "models" / f"{name}.sql" in made()
