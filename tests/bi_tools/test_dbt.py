"""dbt and MetricFlow themselves, on the demo's warehouse: `--dbt FOLDER`, see tests/README.md."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.reporting.script import kept_tables
from tests.bi_tools.metrics import metrics
from tests.bi_tools.star import tables

if TYPE_CHECKING:
    from tests.bi_tools.conftest import Dbt

pytestmark = pytest.mark.timeout(2400)  # the demo first, and dbt takes seconds to start
KEYS = """
import json, sys
from dagster_dbt import DagsterDbtTranslator
manifest = json.load(open("target/manifest.json"))
of = DagsterDbtTranslator().get_asset_key
print(json.dumps({node: of(each).path for node, each in manifest["sources"].items()}))
"""


def test_dbt_reads_the_package_without_a_warning(package: Dbt) -> None:
    package.run("dbt", "--warn-error", "parse", "--no-partial-parse")


def test_dbt_builds_the_models_and_every_test_of_the_data_passes(package: Dbt) -> None:
    package.run("dbt", "build")
    results = json.loads((package.folder / "target/run_results.json").read_text("utf-8"))["results"]
    assert len(results) > 200
    assert {result["status"] for result in results} <= {"pass", "success", "no-op"}


def test_dbt_sees_how_old_each_source_is(package: Dbt) -> None:
    package.run("dbt", "source", "freshness")
    told = json.loads((package.folder / "target/sources.json").read_text("utf-8"))["results"]
    assert len(told) > 70
    assert {result["status"] for result in told} == {"pass"}


def test_metricflow_finds_for_every_metric_what_our_views_have(package: Dbt, demo: str) -> None:
    package.run("dbt", "parse")
    package.run("mf", "query", "--metrics", ",".join(metrics()), "--csv", "all.csv")
    with (package.folder / "all.csv").open() as file:
        (row,) = csv.DictReader(file)
    found = {name: round(float(number), 6) for name, number in row.items()}
    known = {}
    with psycopg.connect(demo) as connection:
        connection.execute("set search_path = reporting")
        for metric in metrics().values():
            told = "select " + metric.meta["equals"]
            ((number,),) = connection.execute(told.encode()).fetchall()
            known[metric.name] = round(float(number), 6)
    assert found == known


def test_metricflow_slices_a_metric_by_month_and_by_client_as_our_views_do(
    package: Dbt, demo: str
) -> None:
    package.run("dbt", "parse")
    asked = ["--metrics", "client_margin,client_profit", "--group-by", "company__company_name"]
    package.run("mf", "query", *asked, "--csv", "clients.csv")
    asked = ["--metrics", "tickets_closed,sla_rate", "--group-by", "metric_time__month"]
    package.run("mf", "query", *asked, "--csv", "months.csv")
    with (package.folder / "clients.csv").open() as file:
        clients = {
            (row["company__company_name"], round(float(row["client_profit"]), 4))
            for row in csv.DictReader(file)
        }
    with (package.folder / "months.csv").open() as file:
        months = {
            (row["metric_time__month"][:7], int(row["tickets_closed"]), round(float(rate), 6))
            for row in csv.DictReader(file)
            if (rate := row["sla_rate"])
        }
    with psycopg.connect(demo) as connection:
        profits = connection.execute(
            "select company_name, sum(profit) from reporting.kpi_client_month"
            " join reporting.dim_company using (company_id) group by 1"
        ).fetchall()
        rates = connection.execute(
            "select to_char(date, 'YYYY-MM'), sum(tickets_closed)::int,"
            " sum(closed_in_sla) / sum(closed_in_sla + closed_out_of_sla)"
            " from reporting.kpi_service_daily group by 1"
            " having sum(closed_in_sla + closed_out_of_sla) > 0"
        ).fetchall()
    assert clients == {(name, round(float(profit), 4)) for name, profit in profits}
    assert months == {(month, count, round(float(rate), 6)) for month, count, rate in rates}


def test_dagster_takes_the_sources_for_our_assets(package: Dbt) -> None:
    package.run("dbt", "parse")
    said = package.run("python", "-W", "ignore", "-c", KEYS)
    paths = [tuple(path) for path in json.loads(said.splitlines()[-1]).values()]
    assert {*paths} == {("reporting", name) for name in tables()}
    assert "fct_member_day" in kept_tables() & {name for _, name in paths}
