"""What is used of Dagster's inside is in one file, is still there, and does what it is used for."""

from __future__ import annotations

import ast
import multiprocessing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from cw_pipeline.dagster import internals
from cw_pipeline.dev.dagster_yaml import prepare_dagster_yaml
from cw_pipeline.paths import PACKAGE

if TYPE_CHECKING:
    from pathlib import Path

KEY = dg.AssetKey(["acme", "tickets"])
MOST = 6


def private_imports(file: Path) -> list[str]:
    """The modules of Dagster's inside that a file imports, for types too."""
    nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [each.name for node in nodes if isinstance(node, ast.Import) for each in node.names]
    return [name for name in names if name.startswith("dagster") and "._" in name]


def test_one_file_imports_from_dagsters_inside_and_little() -> None:
    found = {file: private_imports(file) for file in PACKAGE.rglob("*.py")}
    theirs = {file.name: modules for file, modules in found.items() if modules}
    assert list(theirs) == ["internals.py"]
    assert len(theirs["internals.py"]) <= MOST


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    prepare_dagster_yaml(tmp_path, None)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return dg.DagsterInstance.get()


@dg.op
def prints() -> None:
    print("hello")  # noqa: T201


@dg.job(executor_def=dg.in_process_executor)
def printing() -> None:
    prints()


def test_a_recorded_run_is_executed_in_this_process_and_nothing_printed_is_kept(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with internals.without_step_output(instance) as quiet:
        internals.keep_connections(quiet)
        origin = internals.job_origin("some.module", "/", "a location", printing.name)
        run = quiet.create_run_for_job(printing, remote_job_origin=origin)
        events = list(internals.execute_here(printing, run, quiet))
    kept = instance.get_run_by_id(run.run_id)
    assert kept is not None
    assert kept.is_success
    assert kept.remote_job_origin == origin
    assert events[-1].event_type is dg.DagsterEventType.RUN_SUCCESS
    assert not list(tmp_path.rglob("*.out"))


def test_months_are_reported_without_a_run(instance: dg.DagsterInstance) -> None:
    months = ["2026-01-01", "2026-02-01"]
    found = [dg.AssetMaterialization(KEY, partition=month) for month in months]
    internals.runless_materializations(instance, found)
    internals.runless_materializations(instance, [])
    assert instance.get_materialized_partitions(KEY) == set(months)
    assert len(instance.fetch_materializations(KEY, limit=9).records) == len(months)


def test_old_results_of_checks_are_deleted_of_the_tenant_that_is_named(
    instance: dg.DagsterInstance,
) -> None:
    other = dg.AssetKey(["acme2", "tickets"])
    for key in (KEY, KEY, other, other):
        result = dg.AssetCheckEvaluation(asset_key=key, check_name="fresh", passed=True)
        instance.report_runless_asset_event(result)
    kept = instance.event_log_storage.get_asset_check_execution_history
    later = datetime.now(UTC) + timedelta(minutes=1)
    internals.delete_check_results(instance, [KEY], later - timedelta(hours=1))
    assert len(kept(dg.AssetCheckKey(KEY, "fresh"), limit=9)) == 2
    internals.delete_check_results(instance, [KEY], later)
    # The latest stays: a list that rests for months would be shown as never checked.
    assert len(kept(dg.AssetCheckKey(KEY, "fresh"), limit=9)) == 1
    assert len(kept(dg.AssetCheckKey(other, "fresh"), limit=9)) == 2


def test_programs_that_start_at_once_make_one_storage_that_all_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_dagster_yaml(tmp_path, None)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    at_once = multiprocessing.get_context("fork")
    start = at_once.Barrier(4)

    def use() -> None:
        start.wait(60)
        with dg.DagsterInstance.get() as instance:
            instance.get_runs_count()

    programs = [at_once.Process(target=use) for _ in range(4)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
    assert [program.exitcode for program in programs] == [0, 0, 0, 0]
    with dg.DagsterInstance.get() as instance:
        schedules = instance.schedule_storage
        assert schedules is not None
        for storage in (instance.run_storage, instance.event_log_storage, schedules):
            made, newest = storage.alembic_version() or (None, "")
            assert made == newest
