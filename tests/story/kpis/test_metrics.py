"""A metric is one number: from its own rows, and from the view that has it too."""

from __future__ import annotations

import importlib.util
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from psycopg.rows import dict_row

from cw_pipeline.reporting.tiles import TILES
from cw_pipeline.simulator import CLIENT_ID
from tests.bi_tools import metabase, metabase_sql
from tests.bi_tools.dashboards import datasets, date_of
from tests.bi_tools.metrics import metrics
from tests.bi_tools.star import BI, TYPES, published_types, tables
from tests.story.kpis.conftest import ZONE

if TYPE_CHECKING:
    from tests.story.kpis.conftest import Books


def test_every_metric_is_the_same_as_in_the_view_that_has_it_too(books: Books) -> None:
    found, known = {}, {}
    with psycopg.connect(books.dsn) as connection:
        connection.execute("set search_path = reporting")
        for metric in metrics().values():
            told = "select " + metric.meta["equals"]
            for numbers, query in ((found, metric.query()), (known, told)):
                ((number,),) = connection.execute(query.encode()).fetchall()
                numbers[metric.name] = None if number is None else round(float(number), 9)
    assert found == known
    assert [name for name, number in known.items() if not number] == []


def test_figures_of_the_page_are_those_of_the_metrics_and_called_like_them(books: Books) -> None:
    assert len(TILES) >= 13
    with psycopg.connect(books.dsn, row_factory=dict_row) as connection:
        today = books.today()
        for tile in TILES:
            metric = metrics()[tile.metric]
            names = {name.lower() for name in (metric.label, *metric.meta.get("also_called", ()))}
            assert tile.title.lower() in names
            assert (tile.better == "up") == metric.meta.get("higher_is_better", tile.better == "up")
            asked = tile.query.format(schema="reporting", zone=ZONE, today=f"date '{today}'")
            shown = sum(row["value"] for row in connection.execute(asked.encode()).fetchall())
            assert shown, tile.title
            days = f"{{date}} >= date '{today}' - 30 and {{date}} < date '{today}'"
            is_now = "last 30" not in tile.basis
            query = metric.query(days="" if is_now else days)
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            known = row[metric.name] / (60 if tile.shown_as == "hours" else 1)
            assert shown == pytest.approx(known), tile.title


def test_every_metric_of_a_dataset_of_superset_is_the_metric(books: Books) -> None:
    found, known = {}, {}
    with psycopg.connect(books.dsn) as connection:
        for dataset in datasets().values():
            rows = dataset.query or f"select * from reporting.{dataset.name}"  # noqa: S608
            for metric in dataset.metrics:
                whole = f"select {metric.aggregate_sql()} from ({rows}) q"  # noqa: S608
                if metric.is_stock:
                    day = date_of(metric)
                    whole += f" group by {day} order by {day} desc limit 1"
                for numbers, query in ((found, whole), (known, metric.query())):
                    ((number,),) = connection.execute(query.encode()).fetchall()
                    numbers[metric.name] = round(float(number or 0), 9)
    assert found == known
    assert len(found) > 40


def test_every_question_of_metabase_asks_for_the_number_of_the_metric(books: Books) -> None:
    stages = {
        path: (text, text["dataset_query"]["stages"][0])
        for path, made in metabase.files().items()
        if "dataset_query" in (text := yaml.load(made, yaml.CSafeLoader))
    }
    models = {text["entity_id"]: stage.get("native") for text, stage in stages.values()}
    found, known = {}, {}
    with psycopg.connect(books.dsn) as connection:

        def answer(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode()).fetchall()

        for path, (text, stage) in stages.items():
            if text["type"] == "question":
                assert answer(metabase_sql.query(stage, models)), path
            if text["type"] == "metric":
                metric = metrics()[path.stem]
                rows = answer(metabase_sql.query(stage, models, grouped=metric.is_stock))
                found[metric.name] = round(float(max(rows, key=lambda row: row[0])[-1] or 0), 9)
                ((number,),) = answer(metric.query())
                known[metric.name] = round(float(number or 0), 9)
    assert found == known
    assert len(found) > 40


def test_the_types_that_bi_tools_are_told_are_those_of_the_published_schema(books: Books) -> None:
    with psycopg.connect(books.dsn) as connection:
        types = published_types(connection)
    told = json.loads(TYPES.read_text("utf-8"))
    assert told == types, "python -m tests.bi_tools --types"
    assert {*tables()} <= {*types}  # which has the tables that views stand on, too


def test_the_notebook_runs_from_its_first_cell_to_its_last(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "CW_WAREHOUSE_DSN": books.dsn,
        "CW_SITE": "psa.example.com",
        "CW_COMPANY": "acme",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": CLIENT_ID,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    notebook = json.loads((BI / "notebook.ipynb").read_text("utf-8"))
    has_arrow = importlib.util.find_spec("pyarrow") is not None
    cells = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
        and (has_arrow or "needs-pyarrow" not in cell["metadata"].get("tags", ()))
    ]
    made: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, "notebook.ipynb", "exec"), made)  # noqa: S102 - a file of ours
    (month, rate) = next(iter(made["months"]["sla_rate"].dropna().items()))
    with psycopg.connect(books.dsn) as connection:
        known = connection.execute(
            "select sum(closed_in_sla) / sum(closed_in_sla + closed_out_of_sla)"
            " from reporting.kpi_service_daily where date >= current_date - 365"
            " and date_trunc('month', date) = %s",
            [month],
        ).fetchone()
    assert known is not None
    assert float(rate) == pytest.approx(float(known[0]))
    assert len(made["by_client"]) > 0
    assert all(isinstance(profit, Decimal) for profit in made["by_client"]["profit"])
    if has_arrow:
        whole = made["pipeline"].frame("fct_ticket", columns=["ticket_id", "hours_actual"])
        table = made["pipeline"].arrow("fct_ticket", columns=["ticket_id", "hours_actual"])
        assert table.to_pydict() == {name: whole[name].tolist() for name in whole}
    assert not any(cell.get("outputs") for cell in notebook["cells"])
