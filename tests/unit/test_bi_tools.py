"""The starting points for BI tools are made of the reporting schema as it is."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from cw_pipeline.catalog import select
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.reporting.access import listed_views
from cw_pipeline.settings import Settings
from tests.bi_tools import dbt, metabase, power_bi, superset
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
    there |= {path for path in power_bi.PROJECT.rglob("*") if path.is_file()}
    there |= {path for path in superset.FOLDER.rglob("*") if path.is_file()}
    there |= {path for path in metabase.FOLDER.rglob("*") if path.is_file()}
    there -= {power_bi.PROJECT / "README.md"}
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
    assets = definitions(Settings(), select("core")).resolve_asset_graph().get_all_asset_keys()
    sources = {(source["name"], table["name"]) for table in source["tables"]}
    assert sources <= {tuple(key.path) for key in assets}


def test_every_semantic_model_shows_a_view_that_the_package_makes() -> None:
    text = yaml.safe_load(METRICS.read_text("utf-8"))
    for model in text["semantic_models"]:
        name = model["model"].removeprefix("ref('").removesuffix("')")
        assert name.startswith(PREFIX)
        assert dbt.PACKAGE / "models" / f"{name}.sql" in made()


def power_bi_text() -> str:
    return "\n".join(text for path, text in made().items() if path.suffix == ".tmdl")


def test_every_column_and_measure_that_dax_names_is_there() -> None:
    labels = {metric.label for metric in metrics().values()}
    known = {
        f"'{table.name}'[{column.name}]" for table in power_bi.shown() for column in table.columns
    }
    for metric in metrics().values():
        said = power_bi.dax(metric)
        assert {*re.findall(r"'\w+'\[\w+\]", said)} <= known
        assert {*re.findall(r"(?<!')\[([^\]]+)\]", said)} <= labels
    assert {*re.findall(r"'\w+'\[\w+\]", power_bi_text())} <= known


def test_no_measure_is_named_like_another() -> None:
    labels = [metric.label.lower() for metric in metrics().values()]
    assert len(labels) == len({*labels})


def test_one_active_way_leads_from_a_dimension_to_a_fact() -> None:
    ways = [(own.fact, own.dimension) for own in power_bi.related() if power_bi.is_active(own)]
    assert len(ways) == len({*ways})
    assert {(own.fact, own.dimension) for own in power_bi.related()} == {*ways}


def test_a_report_shows_fields_that_the_model_has() -> None:
    labels = {metric.label for metric in metrics().values()}
    columns = {(t.name, column.name) for t in power_bi.shown() for column in t.columns}
    shown = 0
    for path, text in made().items():
        if path.name != "visual.json":
            continue
        state = json.loads(text)["visual"]["query"]["queryState"]
        for projection in (one for role in state.values() for one in role["projections"]):
            ((kind, field),) = projection["field"].items()
            entity = field["Expression"]["SourceRef"]["Entity"]
            shown += 1
            if kind == "Measure":
                assert field["Property"] in labels
            else:
                assert (entity, field["Property"]) in columns
    assert shown > 50


def test_a_client_of_the_model_sees_no_column_that_it_does_not_see_in_the_warehouse() -> None:
    (role,) = (text for path, text in made().items() if path.name == "Client.tmdl")
    parts = role.split("\n\ttablePermission ")[1:]
    given = {part.split()[0]: part for part in parts}
    linked = {(own.fact, own.column) for own in power_bi.related()}
    for table in power_bi.shown()[1:]:
        listed = listed_views().get(table.name)
        told = given.get(table.name, "")
        if listed is None:
            assert "\t\tmetadataPermission: none" in told
            continue
        for column in table.columns:
            may_see = column.name in listed.columns or column.type not in power_bi.TYPES
            is_key = (table.name, column.name) in linked or column.name == table.key
            assert (f"columnPermission {column.name}\n" in told) != (may_see or is_key)
    assert "|| 'dim_company'" not in role, "facts of no client would be everybody's"
    assert {name for name in given if name.startswith("fct_") and "IN CALC" in given[name]} == set()


def test_who_sees_a_client_at_one_place_only_is_no_client_of_the_model() -> None:
    (table,) = (text for path, text in made().items() if path.name == "access.tmdl")
    read = re.search(r"SelectRows\(Data, each (.*)\)", table)
    assert read is not None
    assert {*re.findall(r"\[(\w+)\] = null", read[1])} == {"location_id", "department_id"}
    assert "SelectColumns(Clients" in table


def test_the_readme_of_the_power_bi_project_counts_what_is_there() -> None:
    said = (power_bi.PROJECT / "README.md").read_text("utf-8")
    measures, links = len(metrics()), len(power_bi.related())
    count = len(power_bi.shown()) + 1  # and the table of the measures
    assert f"{count} tables in import mode, {links} relations, {measures} measures" in said
