"""A sync from the command line is in Dagster's UI like one of the schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.dagster.in_process import (
    record_reports,
    run_recorded_reconcile,
    run_recorded_sync,
)
from cw_pipeline.errors import ConfigError, SourceDenied, UnexpectedError
from cw_pipeline.model import Window
from cw_pipeline.reporting import Refreshed
from cw_pipeline.simulator import Fault
from cw_pipeline.sync.entity_sync import SyncRequest
from tests.story import test_dagster
from tests.story.test_dagster import BOARDS, COMPANIES, JUNE, TICKETS, TYPES, Stage, key, this_month

if TYPE_CHECKING:
    from pathlib import Path

    from cw_pipeline.model import Audit, SyncResult

stage = test_dagster.stage


class TestACommand:
    def sync(self, stage: Stage, plan: SyncRequest | None = None) -> list[SyncResult]:
        heard: list[SyncResult] = []
        reports = run_recorded_sync(
            stage.story.settings(), stage.entities, plan or SyncRequest(), heard.append
        )
        assert reports == heard
        return reports

    def test_is_recorded_like_a_scheduled_run(self, stage: Stage) -> None:
        reports = self.sync(stage)
        assert {r.entity: r.rows_inserted for r in reports} == {
            TICKETS: 5,
            BOARDS: 2,
            TYPES: 2,
            COMPANIES: 1,
        }
        with dg.DagsterInstance.get() as instance:
            (run,) = instance.get_runs()
            assert run.status == dg.DagsterRunStatus.SUCCESS
            assert run.job_name == "refresh"
            assert run.remote_job_origin is not None  # or the UI could not execute it again
            assert JUNE in instance.get_materialized_partitions(key(TICKETS))
            (latest,) = instance.fetch_materializations(key(TICKETS), limit=1).records
            evaluated = instance.all_logs(
                run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
            )
        assert len(evaluated) == len(stage.names)  # its own check, not those of other steps
        assert latest.run_id == run.run_id
        assert latest.partition_key == this_month()

    def test_that_reconciles_is_recorded_and_shows_what_is_proven(self, stage: Stage) -> None:
        self.sync(stage)
        stage.story.tenant.delete("/service/tickets", 5)
        audits: list[Audit] = []
        run_recorded_reconcile(stage.story.settings(), stage.entities, audits.append)
        assert {audit.entity: audit.proven for audit in audits} == dict.fromkeys(stage.names, True)
        with dg.DagsterInstance.get() as instance:
            run = instance.get_runs(limit=1)[0]
            assert (run.job_name, run.status) == ("reconcile", dg.DagsterRunStatus.SUCCESS)
            latest = instance.event_log_storage.get_latest_asset_check_execution_by_key
            proven = [dg.AssetCheckKey(key(name), "proven") for name in stage.names]
            wanted = [*proven, dg.AssetCheckKey(key(TICKETS), "dead_letters")]
            results = latest(wanted)
        assert {results[check].status.value for check in wanted} == {"SUCCEEDED"}

    def test_that_cannot_reconcile_says_why(self, stage: Stage) -> None:
        def fail(_: Audit) -> None:
            raise KeyError("not foreseen")

        with pytest.raises(UnexpectedError, match="reconcile: unexpected KeyError: 'not foreseen'"):
            run_recorded_reconcile(stage.story.settings(), stage.entities, fail)
        stage.story.simulator.keys = stage.story.simulator.keys.__class__(
            "demo", "public", "other", "x"
        )
        with pytest.raises(SourceDenied):
            run_recorded_reconcile(stage.story.settings(), stage.entities, lambda _: None)

    def test_shows_reports_as_refreshed(self, stage: Stage) -> None:
        day = Refreshed("dim_date", rows=3, whole=True, seconds=0.1, complete_through=None)
        with stage.story.engine():
            record_reports(stage.story.settings(), [day], [TICKETS])
        with dg.DagsterInstance.get() as instance:
            for report in ("dim_date", "kpi_open_ticket", "freshness"):
                shown = dg.AssetKey(["reporting", report])
                assert instance.get_latest_materialization_event(shown) is not None

    def test_reads_a_module_while_a_list_of_another_one_takes_its_time(self, stage: Stage) -> None:
        asked: list[str] = []
        stage.story.simulator.before_page(lambda path, _: asked.append(path))
        slow = Fault("slow", path="/company/companies", seconds=1, times=2)
        stage.story.simulator.faults.add(slow)
        assert all(report.failure is None for report in self.sync(stage))
        last = len(asked) - 1 - asked[::-1].index("/company/companies")
        assert asked.index("/service/tickets") < last

    def test_that_fails_one_entity_reports_it_and_keeps_the_others(self, stage: Stage) -> None:
        stage.story.simulator.role.forbid("/service/tickets")
        failed = {r.entity for r in self.sync(stage) if r.failure is not None}
        assert failed == {TICKETS}
        with dg.DagsterInstance.get() as instance:
            (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.FAILURE

    def test_whose_keys_are_refused_says_so(self, stage: Stage) -> None:
        stage.story.simulator.keys = stage.story.simulator.keys.__class__(
            "demo", "public", "other", "x"
        )
        with pytest.raises(SourceDenied):
            self.sync(stage)

    def test_whose_settings_are_wrong_says_so(self, stage: Stage) -> None:
        stage.story.options["site"] = "http://example.com"
        with pytest.raises(ConfigError, match="plain http"):
            self.sync(stage)

    def test_that_reads_a_window_shows_the_months_it_covered(self, stage: Stage) -> None:
        window = Window(datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC))
        self.sync(stage, SyncRequest(window=window, closed=True))
        with dg.DagsterInstance.get() as instance:
            assert instance.get_materialized_partitions(key(TICKETS)) == {JUNE}

    def test_no_secret_is_left_in_dagsters_storage(self, stage: Stage, tmp_path: Path) -> None:
        stage.story.options["private_key"] = "topsecret-key"
        with pytest.raises(SourceDenied):
            self.sync(stage)
        password = stage.story.dsn.split(":")[2].split("@")[0]
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"service_tickets" in kept
        for secret in (b"topsecret-key", password.encode()):
            assert secret not in kept

    def test_that_was_killed_does_not_show_as_running_for_ever(self, stage: Stage) -> None:
        job = definitions(stage.story.settings(), stage.entities).resolve_job_def("refresh")
        with dg.DagsterInstance.get() as instance:
            import socket  # noqa: PLC0415

            dead = instance.create_run_for_job(
                job,
                status=dg.DagsterRunStatus.STARTED,
                tags={"cw/trigger": "command", "cw/process": f"{socket.gethostname()}:999999999"},
            )
        self.sync(stage)
        with dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(dead.run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.FAILURE


def test_dagster_keeps_its_runs_on_postgres_when_told_to(stage: Stage, empty_dsn: str) -> None:
    stage.story.options["dagster_pg_url"] = empty_dsn
    run_recorded_sync(stage.story.settings(), stage.entities, SyncRequest(), lambda _: None)
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        (run,) = instance.get_runs()
        loaded = instance.get_materialized_partitions(key(TICKETS))
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert JUNE in loaded
