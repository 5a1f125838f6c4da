"""The benchmark runs, case by case, and its figures add up. How fast it is, no test can say."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from cw_pipeline.bench.cases import CASES
from cw_pipeline.bench.lab import BenchFailed, Lab
from cw_pipeline.bench.plot import plot
from cw_pipeline.bench.report import BenchResults
from cw_pipeline.bench.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cw_pipeline.bench.finding import CaseResult
    from tests.conftest import Server

    Measured = Callable[[str], CaseResult]

TINY = replace(
    Scale.of(2000, repeats=1),
    growth=(500, 2000),
    quota=1000,
    odd=300,
    distinct=300,
    idle_lists=3,
    small_lists=4,
    tenant=5,
    live_lists="service/tickets,service/boards",
    live_tickets=60,
    live_tenants=0,
    live_seconds=1,
)


SHORT = [case for case in CASES if case not in ("live", "dagster")]  # `--bench-live`; minutes


@pytest.fixture(scope="module")
def lab(server: Server) -> Iterator[Lab]:
    role = conninfo_to_dict(server.admin)
    dsn = server.url("postgres", str(role["user"]), str(role.get("password", "")))
    with Lab(TINY.distinct, dsn) as lab:
        yield lab


@pytest.fixture(scope="module")
def measured(lab: Lab) -> Measured:
    """What a case finds; measured once, by the first test that asks."""
    return cache(lambda case: CASES[case](lab, TINY))


@pytest.mark.parametrize("case", SHORT)
def test_every_case_runs_and_its_figures_add_up(measured: Measured, case: str) -> None:
    finding = measured(case)

    assert finding.lines
    for run in (run for runs in finding.runs.values() for run in runs):
        costs = run.costs
        assert run.wall > 0
        assert costs["client"] > 0
        assert costs["memory"] > 10e6
        if "requests" in costs:
            told = ("rows_inserted", "rows_updated", "rows_unchanged", "dead_letters")
            assert costs["rows_read"] == sum(costs[name] for name in told)


@pytest.mark.timeout(600)
def test_edits_arrive_in_the_case_live(measured: Measured, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--bench-live"):
        pytest.skip("14 s of CPU: `pytest tests/story/test_bench_smoke.py --bench-live`")
    found = measured("live")

    for rate in (1, 10):
        (run,) = found.runs[f"{rate} edits/s"]
        assert len(run.costs["stored"]) == len(run.costs["shown"]) == rate
    assert len(found.runs["receiver beside a first load"][0].costs["answers"]) == 200
    assert len(found.lines) == 6


def test_a_first_load_costs_what_the_tables_say(measured: Measured) -> None:
    found = measured("load")

    (first,), (again,) = found.runs["first load"], found.runs["full re-read"]
    (copied,) = found.runs["COPY"]
    assert (first.costs["rows_inserted"], first.rows) == (2000, 2000)
    assert (again.costs["rows_unchanged"], again.rows) == (2000, 2000)
    assert copied.rows == 2000
    assert first.costs["wal"] > 2000 * 1000
    assert again.costs["wal"] < first.costs["wal"] / 10


def test_one_in_a_hundred_that_changes_is_rewritten_alone(measured: Measured) -> None:
    runs = measured("growth").runs
    changed = [run for way, (run,) in runs.items() if way.startswith("changed of ")]

    assert [run.costs["rows_read"] for run in changed] == [20, 20]
    assert [run.costs["rows_updated"] for run in changed] == [20, 20]


def test_the_fall_back_is_taken_and_compared_record_by_record(
    measured: Measured,
) -> None:
    assert "unlike their record: 0" in measured("odd").lines[0].seen


def test_the_results_are_a_table_and_json(measured: Measured) -> None:
    results = BenchResults(TINY, "18", findings=[measured(case) for case in SHORT])

    written = json.loads(json.dumps(results.plain()))

    assert [case["case"] for case in written["cases"]] == SHORT
    assert results.markdown().count("\n| ") == len(results.lines) + 1


def test_how_cost_grows_is_drawn_on_a_page_that_needs_no_network(
    measured: Measured, tmp_path: Path
) -> None:
    plot(measured("growth"), tmp_path / "bench.html")

    drawn = (tmp_path / "bench.html").read_text()
    assert "Plotly.newPlot" in drawn
    assert '<script src="http' not in drawn


def test_a_run_that_fails_is_no_figure(lab: Lab) -> None:
    with lab.database() as dsn, pytest.raises(BenchFailed):
        lab.sync(dsn, "nobody")
