"""Dagster's own storage does not grow for ever, and forgets nothing that the UI shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.dagster.in_process import run_recorded_sync
from cw_pipeline.sync.entity_sync import SyncRequest
from tests.story import test_dagster
from tests.story.test_dagster import JUNE, TICKETS, key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.story.test_dagster import Stage

stage = test_dagster.stage


@pytest.mark.parametrize("storage", ["SQLite", "Postgres"])
def test_old_runs_are_deleted_and_what_they_loaded_stays_loaded(
    storage: str, stage: Stage, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if storage == "Postgres":
        stage.story.options["dagster_pg_url"] = request.getfixturevalue("empty_dsn")
    _sync(stage)
    with dg.DagsterInstance.get() as instance:
        (old,) = instance.get_runs()
        _age(instance, old.run_id, 100)
    _sync(stage, full=True)  # or else the first one stays, as the latest that read all lists whole
    with dg.DagsterInstance.get() as instance:
        before = instance.get_materialized_partitions(key(TICKETS))
        made = definitions(stage.story.settings(), stage.entities)
        done = made.resolve_job_def("maintenance").execute_in_process(instance=instance)
        left = {run.run_id for run in instance.get_runs()}
        assert instance.get_materialized_partitions(key(TICKETS)) == before
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key(TICKETS), "sync_ok"), limit=10
        )
    assert done.success
    assert JUNE in before
    assert old.run_id not in left
    assert len(left) == 2  # the second sync, and the maintenance itself
    assert {each.run_id for each in history}.isdisjoint({old.run_id})
    assert not list(tmp_path.rglob(f"*{old.run_id}*"))


def test_what_is_latest_stays_however_old_it_is(stage: Stage) -> None:
    _sync(stage)
    view = dg.AssetKey(["reporting", "kpi_backlog_daily"])
    with dg.DagsterInstance.get() as instance:
        (only,) = instance.get_runs()
        for _ in range(3):
            instance.report_runless_asset_event(dg.AssetMaterialization(view))
        _age(instance, only.run_id, 100)
        made = definitions(stage.story.settings(), stage.entities)
        assert made.resolve_job_def("maintenance").execute_in_process(instance=instance).success
        # The run that its lists were last read by, and the last event of the view.
        assert only.run_id in {run.run_id for run in instance.get_runs()}
        assert instance.fetch_materializations(key(TICKETS), limit=1).records
        assert len(instance.fetch_materializations(view, limit=9).records) == 1


def _sync(stage: Stage, *, full: bool = False) -> None:
    run_recorded_sync(
        stage.story.settings(), stage.entities, SyncRequest(full=full), lambda _: None
    )


def _age(instance: dg.DagsterInstance, run_id: str, days: int) -> None:
    """Makes a run, and what it found, as old as that, and so all runless events."""
    runs: Any = instance.run_storage
    events: Any = instance.event_log_storage
    sqlite = "sqlite" in type(runs).__name__.lower()
    ago = f"datetime('now', '-{days} days')" if sqlite else f"now() - interval '{days} days'"
    for connect, table, moment in (
        (runs.connect, "runs", "create_timestamp"),
        (events.index_connection, "asset_check_executions", "create_timestamp"),
        (events.index_connection, "event_logs", "timestamp"),
    ):
        with connect() as connection:
            connection.exec_driver_sql(
                f"update {table} set {moment} = {ago} where run_id in ('{run_id}', '')"  # noqa: S608
            )
