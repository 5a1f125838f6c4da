"""What is used of Dagster's inside is in one file, is still there, and does what it is used for."""

from __future__ import annotations

import ast
import multiprocessing
import threading
import time
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._daemon import controller
from dagster._grpc import server_watcher
from dagster._grpc.client import DagsterGrpcClient
from sqlalchemy import Engine, event
from typing_extensions import override

from cw_pipeline.dagster import internals
from cw_pipeline.dev.dagster_yaml import prepare_dagster_yaml
from cw_pipeline.paths import PACKAGE

if TYPE_CHECKING:
    from pathlib import Path

KEY = dg.AssetKey(["acme", "tickets"])
MOST = 7
_CALLS = ("on_", "get_", "refresh_")  # what Dagster's watch is given, others in each version


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


class _CodeServer(DagsterGrpcClient):
    """One that serves the same definitions for ever."""

    @override
    def __init__(self) -> None: ...

    @override
    def get_server_id(self, timeout: int = 0) -> str:
        return "the same"


class _Ending(threading.Event):
    """Ends who waits for it, and notes how long that would have waited."""

    waits: ClassVar[list[float | None]] = []

    @override
    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        self.set()
        return True


def test_programs_of_up_ask_the_code_server_seldom_for_what_cannot_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For all definitions each minute, and each second for its id: half of what idling took."""
    daemon, look = controller.DagsterDaemonController, "check_workspace_freshness"
    monkeypatch.setattr(daemon, look, getattr(daemon, look))  # as they were, at the end
    monkeypatch.setattr(server_watcher, "WATCH_INTERVAL", 1)
    patience = controller.RELOAD_WORKSPACE_INTERVAL
    internals.look_seldom_for_new_code()
    hour_ago, refreshing = time.time() - 3600, Mock()
    assert daemon.check_workspace_freshness(refreshing, hour_ago) == hour_ago
    assert not refreshing.mock_calls
    # A backfill whose assets are gone sleeps for so long, five times, before it fails.
    assert controller.RELOAD_WORKSPACE_INTERVAL == patience == 60
    watch: Any = server_watcher.watch_grpc_server_thread
    calls = [name for name in signature(watch).parameters if name.startswith(_CALLS)]
    watch(
        location_name="here",
        client=_CodeServer(),
        shutdown_event=_Ending(),
        **{name: Mock(return_value=None) for name in calls},
    )
    assert _Ending.waits == [15]


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
        run, events = internals.execute_here(
            quiet, printing, location="a location", config={}, tags={"a": "b"}, assets=set()
        )
    kept = instance.get_run_by_id(run.run_id)
    assert kept is not None
    assert kept.is_success
    assert kept.tags["a"] == "b"
    origin = kept.remote_job_origin
    assert origin is not None
    assert (origin.job_name, origin.location_name) == (printing.name, "a location")
    assert events[-1].event_type is dg.DagsterEventType.RUN_SUCCESS
    assert not list(tmp_path.rglob("*.out"))


def test_months_are_reported_without_a_run(instance: dg.DagsterInstance) -> None:
    months = ["2026-01-01", "2026-02-01"]
    found = [dg.AssetMaterialization(KEY, partition=month) for month in months]
    internals.runless_materializations(instance, found)
    internals.runless_materializations(instance, [])
    assert instance.get_materialized_partitions(KEY) == set(months)
    assert len(instance.fetch_materializations(KEY, limit=9).records) == len(months)


def test_ten_years_of_months_are_no_transaction_each_in_sqlite(tmp_path: Path) -> None:
    """After a first load each of a hundred lists has as many: minutes, if each were its own."""
    months = [f"{year}-{month:02}-01" for year in range(2016, 2026) for month in range(1, 13)]
    found = [dg.AssetMaterialization(KEY, partition=month, tags={"a": "b"}) for month in months]
    commits: list[object] = []
    with dg.DagsterInstance.local_temp(str(tmp_path)) as files:
        assert not files.get_materialized_partitions(KEY)
        note = commits.append
        event.listen(Engine, "commit", note)
        internals.runless_materializations(files, found)
        event.remove(Engine, "commit", note)
        assert files.get_materialized_partitions(KEY) == set(months)
        latest = files.get_latest_materialization_event(KEY)
    assert len(commits) <= 3  # one, but in Dagster before 1.13
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.partition == months[-1]


@pytest.mark.parametrize("storage", ["SQLite", "Postgres"])
def test_old_events_are_deleted_of_the_tenant_that_is_named_but_for_the_latest(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("empty_dsn") if storage == "Postgres" else None
    prepare_dagster_yaml(tmp_path, address)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    other, later = dg.AssetKey(["acme2", "tickets"]), datetime.now(UTC) + timedelta(minutes=1)
    with dg.DagsterInstance.get() as instance:
        for key in (KEY, other):
            for month in ("2026-01-01", "2026-02-01", None):
                for _ in range(3):
                    found = dg.AssetMaterialization(
                        key, partition=month, tags={"dagster/data_version": "1"}
                    )
                    instance.report_runless_asset_event(found)
            for name in ("fresh", "fresh", "proven"):
                result = dg.AssetCheckEvaluation(asset_key=key, check_name=name, passed=True)
                instance.report_runless_asset_event(result)
        internals.delete_old_events(instance, [KEY], later - timedelta(hours=1))
        assert _stored(instance) == {KEY: (9, 2), other: (9, 2)}
        internals.delete_old_events(instance, [KEY], later)
        # The latest stay: a list that rests for months would be shown as never checked.
        assert _stored(instance) == {KEY: (3, 1), other: (9, 2)}
        assert len(instance.get_materialized_partitions(KEY)) == 2
        latest = instance.get_latest_materialization_event(KEY)
        assert latest is not None
        assert latest.asset_materialization is not None
        assert latest.asset_materialization.partition is None
        # Of all runless events, those of results too, and their tags.
        events: Any = instance.event_log_storage
        with events.index_connection() as connection:
            count = "select (select count(*) from event_logs), (select count(*) from {})"
            rows = connection.exec_driver_sql(count.format("asset_event_tags")).fetchone()
        results = 0 if dg.__version__.startswith("1.11.") and storage == "SQLite" else 3 + 2
        assert tuple(rows) == (9 + 3 + results, 9 + 3)
        if storage == "SQLite":
            with events.run_connection("") as connection:
                left = connection.exec_driver_sql("select distinct asset_key from event_logs")
                assert left.fetchall() == [(other.to_string(),)]


def _stored(instance: dg.DagsterInstance) -> dict[dg.AssetKey, tuple[int, int]]:
    """How many materializations and results of the check `fresh` there are, by asset."""
    history = instance.event_log_storage.get_asset_check_execution_history
    return {
        key: (
            len(instance.fetch_materializations(key, limit=99).records),
            len(history(dg.AssetCheckKey(key, "fresh"), limit=99)),
        )
        for key in (KEY, dg.AssetKey(["acme2", "tickets"]))
    }


@dg.asset
def tickets() -> None:
    """One that a run selects."""


@dg.asset
def companies() -> None:
    """Another."""


def test_what_is_kept_of_a_selection_goes_with_the_last_run_that_selected_so(
    instance: dg.DagsterInstance,
) -> None:
    made = dg.Definitions(
        [tickets, companies],
        jobs=[dg.define_asset_job("refresh")],
        executor=dg.in_process_executor,
    )
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

    def run(*keys: str) -> dg.DagsterRun:
        job = made.resolve_job_def("refresh")
        selected = [dg.AssetKey(key) for key in keys] or None
        done = job.execute_in_process(instance=instance, run_config=quiet, asset_selection=selected)
        return done.dagster_run

    def snapshots(run: dg.DagsterRun) -> tuple[bool, bool]:
        assert run.job_snapshot_id is not None
        assert run.execution_plan_snapshot_id is not None
        storage = instance.run_storage
        return (
            storage.has_job_snapshot(run.job_snapshot_id),
            storage.has_snapshot(run.execution_plan_snapshot_id),
        )

    one, again, other, whole = run("tickets"), run("tickets"), run("companies"), run()
    internals.delete_run(instance, one.run_id)
    internals.delete_unused_snapshots(instance)
    assert snapshots(again) == (True, True)
    internals.delete_run(instance, again.run_id)
    internals.delete_run(instance, whole.run_id)  # but a part of that job refers to it
    internals.delete_unused_snapshots(instance)
    assert snapshots(again) == (False, False)
    assert snapshots(other) == (True, True)
    assert snapshots(whole)[0]
    last = run("tickets")
    assert snapshots(last) == (True, True)

    internals.delete_run(instance, last.run_id)
    run("companies", "tickets")
    begun: list[dg.DagsterRun] = []

    def run_meanwhile(_: object, __: object, statement: str, *___: object) -> None:
        if statement.lower().startswith("delete from snapshots") and not begun:
            begun.append(run("tickets"))

    event.listen(Engine, "before_cursor_execute", run_meanwhile)
    internals.delete_unused_snapshots(instance)
    event.remove(Engine, "before_cursor_execute", run_meanwhile)
    assert begun[0].job_snapshot_id == last.job_snapshot_id
    assert snapshots(begun[0]) == (True, True)


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
