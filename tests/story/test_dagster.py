"""What a data engineer sees in Dagster: runs against the simulator and a real warehouse."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import stamina

from cw_pipeline.catalog import CATALOG
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.dev import services
from cw_pipeline.simulator import Fault
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cw_pipeline.model import Entity
    from cw_pipeline.simulator import Simulator, Tenant
    from tests.story.conftest import Story

TICKETS, BOARDS, TYPES, COMPANIES = (
    "service/tickets",
    "service/boards",
    "service/boards/types",
    "company/companies",
)
JUNE, JULY = "2026-06-01", "2026-07-01"
RANGE = "dagster/asset_partition_range"


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["connectwise", CATALOG[name].table])


@dataclass
class Stage:
    """A code location over a story's tenant and warehouse, and an instance to run it on."""

    story: Story
    instance: dg.DagsterInstance
    names: tuple[str, ...] = (TICKETS, BOARDS, TYPES, COMPANIES)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def entities(self) -> list[Entity]:
        return [CATALOG[name] for name in self.names]

    def run(self, job: str = "refresh", *names: str, **asked: Any) -> dg.ExecuteInProcessResult:
        """Runs a job. `mode`, `since`, `until`: its config; `months`: what it is launched for."""
        months = asked.pop("months", ())
        tags = dict(asked.pop("tags", {}))
        if months:
            tags |= {f"{RANGE}_start": months[0], f"{RANGE}_end": months[-1]}
        # Not the tables of the reporting schema: to publish it takes longer than most tests.
        lists = names or (self.names if job == "refresh" else ())
        selection = [key(name) for name in lists] or None
        ops = asked.pop("config", {})
        ops |= {"sync": {"config": asked}} if asked else {}
        made = definitions(self.story.settings(**self.options), self.entities)
        return made.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            run_config={"ops": ops, "loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            asset_selection=selection,
            tags=tags,
            raise_on_error=False,
        )

    def loaded(self, name: str) -> set[str]:
        """The months that show as loaded."""
        return self.instance.get_materialized_partitions(key(name))


@pytest.fixture
def stage(
    story: Story, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """Some tickets, boards and companies that have never been synced."""
    _fill(story.tenant)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    told = {
        "SITE": simulator.url,
        "COMPANY": "demo",
        "PUBLIC_KEY": "public",
        "PRIVATE_KEY": "private",
        "CLIENT_ID": "00000000-0000-4000-8000-000000000000",
        "WAREHOUSE_DSN": story.dsn,
        "REQUESTS_PER_MINUTE": "1000000",
        "BACKFILL_START": "2026-03-01",
        "ENTITIES": f"{TICKETS},{BOARDS},{TYPES},{COMPANIES}",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"CW_{name}", value)
    services.prepared_home()
    story.options["backfill_start"] = "2026-03-01"
    stamina.set_testing(True, attempts=2)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Stage(story, instance)
    stamina.set_testing(False)


@pytest.fixture
def kept(stage: Stage) -> Iterator[Stage]:
    """The stage with an instance that outlives a tick."""
    with dg.DagsterInstance.get() as stage.instance:
        yield stage


def _fill(tenant: Tenant) -> None:
    old = datetime(2026, 6, 10, tzinfo=UTC)
    for own in range(1, 6):
        tenant.put("/service/tickets", {"id": own, "summary": f"secret {own}"}, stamp=old)
    for own in (1, 2):
        tenant.put("/service/boards", {"id": own, "name": f"board {own}"}, stamp=old)
        tenant.put(f"/service/boards/{own}/types", {"id": own, "name": "type"}, stamp=old)
    tenant.put("/company/companies", {"id": 1, "name": "Acme", "identifier": "acme"}, stamp=old)


def checks(result: dg.ExecuteInProcessResult, name: str = "sync_ok") -> dict[str, bool]:
    """Whether the check passed, by table."""
    found = result.get_asset_check_evaluations()
    return {c.asset_key.path[-1]: c.passed for c in found if c.check_name == name}


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of what was materialized, by table."""
    return {
        event.asset_key.path[-1]: {k: v.value for k, v in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }


class TestARefresh:
    def test_loads_every_entity_and_tells_what_it_did(self, stage: Stage) -> None:
        result = stage.run(mode="incremental", months=["2026-11-01"])
        assert result.success
        told = materialized(result)["service_tickets"]
        assert (told["rows_read"], told["rows_inserted"], told["dead_letters"]) == (5, 5, 0)
        assert told["dagster/row_count"] == 5
        assert told["dagster/table_name"] == "connectwise.service_tickets"
        assert told["requests"] > 0
        assert told["lag_seconds"] < 60
        assert told["data_complete_through"] > 0
        assert told["dagster/column_schema"].columns
        assert checks(result) == dict.fromkeys(
            ["service_tickets", "service_boards", "service_boards_types", "company_companies"],
            True,
        )
        assert len(stage.story.table(TICKETS)) == 5

    def test_gives_its_figures_to_the_check_which_the_ui_plots_run_by_run(
        self, stage: Stage
    ) -> None:
        result = stage.run("refresh", TICKETS, mode="incremental")
        (check,) = (c for c in result.get_asset_check_evaluations() if c.check_name == "sync_ok")
        assert check.metadata["rows_inserted"].value == 5
        assert check.metadata["lag_seconds"].value < 60

    def test_shows_keys_and_stamps_of_the_latest_rows_but_nothing_personal(
        self, stage: Stage
    ) -> None:
        preview = materialized(stage.run(mode="incremental"))["service_tickets"]["preview"]
        assert "| id | last_updated | _synced_at | _deleted_at |" in preview
        assert "secret" not in preview

    def test_a_first_load_shows_every_month_as_loaded(self, stage: Stage) -> None:
        stage.run(mode="incremental", tags={"dagster/partition": this_month()})
        assert {"2026-03-01", JUNE, this_month()} <= stage.loaded(TICKETS)

    def test_after_an_outage_the_months_that_were_missed_show_as_loaded(self, stage: Stage) -> None:
        stage.run(mode="incremental", months=[this_month()])
        stage.instance.wipe_assets([key(TICKETS)])
        stage.story.rows(
            "update cw_sync.checkpoint set watermark = watermark - interval '70 days'"
            " returning entity"
        )
        stage.run(mode="incremental", months=[this_month()])
        first = datetime.now(UTC).replace(day=1)
        assert (first - timedelta(days=1)).strftime("%Y-%m-01") in stage.loaded(TICKETS)
        assert JUNE not in stage.loaded(TICKETS)

    def test_a_run_of_one_check_syncs_its_entity_alone(self, stage: Stage) -> None:
        made = definitions(stage.story.settings(), stage.entities)
        job = made.resolve_job_def("refresh").get_subset(
            asset_selection=set(), asset_check_selection={dg.AssetCheckKey(key(TICKETS), "sync_ok")}
        )
        result = job.execute_in_process(instance=stage.instance)
        assert checks(result) == {"service_tickets": True}
        assert materialized(result) == {}
        assert stage.story.simulator.count_by_path()["/company/companies"] == 0


class TestReportingTables:
    def test_follow_in_the_same_run_although_a_list_failed_and_then_rest(self, kept: Stage) -> None:
        kept.story.simulator.role.forbid("/company/companies")
        result = kept.run(mode="incremental", tags={"cw/trigger": "refresh"})
        assert not result.success
        told = materialized(result)
        assert "fct_ticket_all" in told
        assert "fct_ticket" in told  # a view: what stands on it can follow
        kept.story.simulator.role.allow("/company/companies")
        # Without a schedule, as a backfill or a click: the tables follow all the same.
        kept.story.tenant.edit("/service/tickets", 1, touch=False, summary="edited")
        told = materialized(kept.run("refresh", TICKETS, months=[JUNE]))
        assert told["fct_ticket_all"]["rows_computed"] == 1
        kept.run(mode="incremental")
        kept.run(mode="incremental")
        assert tick(kept).skip_message == "nothing changed in 4 lists"


class TestAFailure:
    def test_keeps_the_others_and_is_not_silent(self, stage: Stage) -> None:
        stage.story.simulator.role.forbid("/service/tickets")
        result = stage.run(mode="incremental")
        assert not result.success
        assert set(materialized(result)) == {
            "service_boards",
            "service_boards_types",
            "company_companies",
        }
        assert checks(result)["service_tickets"] is False
        assert checks(result)["service_boards"] is True
        (failed,) = [c for c in result.get_asset_check_evaluations() if not c.passed]
        assert failed.severity == dg.AssetCheckSeverity.ERROR
        assert "security role" in (failed.description or "")

    def test_that_would_repeat_itself_is_not_retried(self, stage: Stage) -> None:
        stage.story.simulator.role.forbid("/service/tickets")
        assert _retried(stage, stage.run(mode="incremental")) == "false"

    def test_that_may_pass_is_retried(self, stage: Stage) -> None:
        # One may be retried, so the run is: the other fails again, at no great cost.
        stage.story.simulator.role.forbid("/company/companies")
        stage.story.simulator.faults.add(Fault("503", "/service/tickets"))
        assert _retried(stage, stage.run(mode="incremental")) == "true"

    def test_refused_keys_fail_every_entity_after_one_request(self, stage: Stage) -> None:
        stage.story.simulator.keys = stage.story.simulator.keys.__class__(
            "demo", "public", "other", "x"
        )
        result = stage.run(mode="incremental")
        assert set(checks(result).values()) == {False}
        assert len(checks(result)) == 4
        asked = stage.story.simulator.count_by_path()
        assert sum(n for path, n in asked.items() if "companyinfo" not in path) <= 4

    def test_an_entity_that_another_runner_holds_is_left_to_it(self, stage: Stage) -> None:
        with (
            stage.story.engine() as engine,
            open_store(engine.database, CATALOG[TICKETS], "refresh"),
        ):
            result = stage.run(mode="incremental")
        assert result.success
        assert "service_tickets" not in materialized(result)
        (held,) = [c for c in result.get_asset_check_evaluations() if not c.passed]
        assert held.severity == dg.AssetCheckSeverity.WARN


class TestABackfill:
    def test_reads_its_months_again_and_leaves_the_watermark(self, stage: Stage) -> None:
        stage.run(mode="incremental")
        before = stage.story.checkpoint(TICKETS)["watermark"]
        stage.story.tenant.edit("/service/tickets", 1, touch=False, summary="mended")
        stage.story.simulator.requests.clear()
        result = stage.run("refresh", TICKETS, months=[JUNE, JULY])
        assert result.success
        assert stage.loaded(TICKETS) == {JUNE, JULY} | stage.loaded(TICKETS)
        assert stage.story.table(TICKETS)[1]["summary"] == "mended"
        assert stage.story.checkpoint(TICKETS)["watermark"] == before
        (asked, *_) = [s for s in stage.story.simulator.requests if s.path == "/service/tickets"]
        assert "2026-06-01T00:00:00Z" in str(asked)
        assert "2026-08-01T00:00:00Z" in str(asked)

    def test_of_days_is_asked_for_in_config(self, stage: Stage) -> None:
        result = stage.run("refresh", TICKETS, since="2026-06-09", until="2026-06-10T00:00:00Z")
        assert materialized(result)["service_tickets"]["rows_read"] == 0
        result = stage.run("refresh", TICKETS, since="2026-06-10", until="2026-06-11")
        assert materialized(result)["service_tickets"]["rows_read"] == 5

    def test_that_would_not_read_its_months_is_refused(self, stage: Stage) -> None:
        result = stage.run(
            "refresh",
            TICKETS,
            mode="full",
            months=[JUNE],
            tags={"dagster/backfill": "abc"},
        )
        assert not result.success
        assert "Leave it at auto" in str(result.failure_data_for_node("sync"))


class TestPromises:
    def test_are_judged_without_asking_the_tenant(self, stage: Stage) -> None:
        stage.run(mode="incremental")
        stage.story.rows(
            "update cw_sync.checkpoint set watermark = watermark - interval '1 day'"
            " where entity = %s returning entity",
            TICKETS,
        )
        stage.story.simulator.requests.clear()
        result = stage.run("promises")
        assert checks(result, "fresh") == {
            "service_tickets": False,
            "service_boards": True,
            "service_boards_types": True,
            "company_companies": True,
        }
        assert set(checks(result, "dead_letters").values()) == {True}
        assert set(checks(result, "proven").values()) == {False}
        assert stage.story.simulator.requests == []

    def test_reconcile_proves_and_tells_each_entity_what_it_found(self, stage: Stage) -> None:
        stage.run(mode="incremental")
        stage.story.tenant.edit("/service/tickets", 2, touch=False, summary="unseen")
        stage.story.tenant.delete("/service/tickets", 5)
        stage.story.rows("delete from connectwise.service_tickets where id = 1 returning id")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CW_MAX_DELETE_FRACTION", "0.5")
            result = stage.run("reconcile")
        assert result.success
        assert set(checks(result, "proven").values()) == {True}
        seen = stage.instance.fetch_observations(key(TICKETS), limit=1).records[0]
        assert seen.asset_observation is not None
        told = {name: each.value for name, each in seen.asset_observation.metadata.items()}
        assert (told["missing"], told["healed"], told["deleted"]) == (1, 1, 1)
        (last,) = stage.instance.fetch_materializations(key(TICKETS), limit=1).records
        assert "'dagster/row_count': IntMetadataValue(value=4)" in str(last.asset_materialization)

    def test_the_re_read_finds_what_changed_without_a_stamp(self, stage: Stage) -> None:
        stage.run(mode="incremental")
        stage.story.tenant.edit("/service/tickets", 2, touch=False, summary="unseen")
        config = {"connectwise__reread": {"config": {"nights": 1}}}
        assert stage.run("reread", config=config).success
        assert stage.story.table(TICKETS)[2]["summary"] == "unseen"


class TestTheJudgement:
    """What an asset's page says of its checks: the latest result, or "not evaluated"."""

    def test_of_what_a_refresh_loaded_is_shown_at_once(self, kept: Stage) -> None:
        kept.run(mode="incremental")
        assert _shown(kept, TICKETS) == {
            "fresh": True, "dead_letters": True, "proven": False, "count": True, "drift": True,
        }  # fmt: skip
        kept.story.tenant.edit("/service/tickets", 1, summary="edited")
        kept.run("refresh", TICKETS, mode="incremental")
        assert len(_shown(kept, TICKETS)) == 5
        assert len(_shown(kept, COMPANIES)) == 5  # which nothing hid meanwhile

    def test_costs_an_event_only_where_it_changes_or_something_has_hidden_it(
        self, kept: Stage
    ) -> None:
        kept.run(mode="incremental")
        assert _judge(kept) == "1 result changed; the others are as they were"  # of the clocks
        assert _judge(kept) == "0 results changed; the others are as they were"
        kept.story.rows(
            "update cw_sync.checkpoint set watermark = watermark - interval '1 day'"
            " where entity = %s returning entity",
            TICKETS,
        )
        assert _judge(kept) == "1 result changed; the others are as they were"
        assert _shown(kept, TICKETS)["fresh"] is False
        kept.instance.report_runless_asset_event(dg.AssetMaterialization(key(COMPANIES)))
        assert _shown(kept, COMPANIES) == {}
        assert _judge(kept).startswith("6 results")  # sync_ok's is told again
        assert len(_shown(kept, COMPANIES)) == 5


def _shown(stage: Stage, name: str) -> dict[str, bool]:
    """Whether checks passed, of those whose latest result is of the latest materialization."""
    (last,) = stage.instance.fetch_materializations(key(name), limit=1).records
    found = {}
    for check in ("fresh", "dead_letters", "proven", "count", "drift"):
        asked = dg.AssetCheckKey(key(name), check)
        records = stage.instance.event_log_storage.get_latest_asset_check_execution_by_key([asked])
        done = records[asked].evaluation if asked in records else None
        target = done.target_materialization_data if done else None
        if done is not None and target is not None and target.storage_id == last.storage_id:
            found[check] = done.passed
    return found


def _judge(stage: Stage) -> str:
    """What the hourly tick says that it has done."""
    return str(tick(stage, "promises").skip_message)


class TestReportColumns:
    def test_are_listed_with_their_types(self, stage: Stage) -> None:
        result = stage.run("report_columns")
        assert result.success
        told = materialized(result)["report_columns"]
        assert told["reports"] == len(stage.story.simulator.reports.names())
        rows = stage.story.rows("select * from connectwise.report_columns where report = 'Service'")
        first = next(row for row in rows if row["position"] == 1)
        assert (first["column"], first["type"], first["nullable"]) == (
            "SR_Service_RecID",
            "Numeric",
            True,
        )
        assert checks(result, "unchanged") == {"report_columns": True}

    def test_a_name_that_comes_twice_is_kept_twice(self, stage: Stage) -> None:
        stage.run("report_columns")
        rows = stage.story.rows(
            'select "column" from connectwise.report_columns where report = %s'
            " order by position desc limit 2",
            "Activity",
        )
        assert [row["column"] for row in rows] == ["Last_Update_2", "Last_Update"]

    def test_a_change_is_told_once_and_kept(self, stage: Stage) -> None:
        stage.run("report_columns")
        reports = stage.story.simulator.reports
        reports.add_column("Service", "New_Column")
        reports.remove_column("Contact", "Title")
        reports.retype_column("Company", reports.columns("Company")[0].name, "Text")
        assert checks(stage.run("report_columns"), "unchanged") == {"report_columns": False}
        assert checks(stage.run("report_columns"), "unchanged") == {"report_columns": True}
        drift = stage.story.rows("select report, change from cw_sync.report_drift order by report")
        assert [(row["report"], row["change"]) for row in drift] == [
            ("Company", "retyped"),
            ("Contact", "removed"),
            ("Service", "added"),
        ]
        (gone,) = stage.story.rows(
            "select _deleted_at from connectwise.report_columns"
            " where report = 'Contact' and \"column\" = 'Title'"
        )
        assert gone["_deleted_at"] is not None

    def test_a_report_that_cannot_be_read_keeps_its_columns(self, stage: Stage) -> None:
        stage.run("report_columns")
        stage.story.simulator.role.forbid("/system/reports/Service/columns")
        result = stage.run("report_columns")
        assert result.success
        assert checks(result) == {"report_columns": False}
        assert checks(result, "unchanged") == {"report_columns": True}

    def test_reports_that_vanish_by_the_dozen_are_not_deleted(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage.run("report_columns")
        before = stage.story.rows("select count(*) from connectwise.report_columns")
        names = stage.story.simulator.reports.names()[:1]
        monkeypatch.setattr(stage.story.simulator.reports, "names", lambda: names)
        result = stage.run("report_columns")
        live = "select count(*) from connectwise.report_columns where _deleted_at is null"
        assert stage.story.rows(live) == before
        assert checks(result) == {"report_columns": False}

    def test_no_right_to_reports_fails_and_says_so(self, stage: Stage) -> None:
        stage.story.simulator.role.forbid("/system/reports")
        result = stage.run("report_columns")
        assert not result.success
        assert checks(result) == {"report_columns": False}


def this_month() -> str:
    return datetime.now(UTC).strftime("%Y-%m-01")


def _retried(stage: Stage, result: dg.ExecuteInProcessResult) -> str | None:
    run = stage.instance.get_run_by_id(result.run_id)
    assert run is not None
    return run.tags.get("dagster/retry_on_asset_or_op_failure")


class TestATick:
    def test_where_nothing_changed_launches_nothing_and_says_so(self, stage: Stage) -> None:
        stage.run(mode="incremental")
        stage.run(mode="incremental")  # children, whose parents were read at the same moment
        assert tick(stage).skip_message == "nothing changed in 4 lists"

    def test_launches_a_run_of_what_changed_for_the_current_month(self, stage: Stage) -> None:
        stage.run(mode="incremental")
        stage.run(mode="incremental")
        stage.story.tenant.edit("/service/tickets", 1, summary="edited")
        (request,) = tick(stage).run_requests or ()
        assert request.asset_selection == [key(TICKETS)]
        assert request.partition_key == this_month()
        assert request.run_config == {"ops": {"sync": {"config": {"mode": "incremental"}}}}

    def test_a_first_one_launches_all_lists(self, stage: Stage) -> None:
        (request,) = tick(stage).run_requests or ()
        assert set(request.asset_selection or ()) == {key(name) for name in stage.names}


def tick(stage: Stage, name: str = "refresh") -> Any:
    made = definitions(stage.story.settings(**stage.options), stage.entities)
    with dg.DagsterInstance.get() as instance:
        repository = made.get_repository_def()
        context = dg.build_schedule_context(instance, datetime.now(UTC), repository_def=repository)
        return made.resolve_schedule_def(name).evaluate_tick(context)
