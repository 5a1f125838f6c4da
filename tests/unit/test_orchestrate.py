"""What Dagster is told, and what a run's config means; nothing here connects to anything."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.dagster.asset_specs import months_from, window_of_months, within
from cw_pipeline.dagster.checks import evaluate
from cw_pipeline.dagster.code_location import definitions
from cw_pipeline.dagster.sync_assets import SyncConfig, config_from_request, request_from_config
from cw_pipeline.dev.dagster_yaml import prepare_dagster_yaml
from cw_pipeline.errors import ConfigError
from cw_pipeline.model import SyncMode, Window
from cw_pipeline.settings import Settings
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.warehouse.status import EntityStatus

if TYPE_CHECKING:
    from pathlib import Path

    from dagster._core.definitions.schedule_definition import ScheduleExecutionData

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
JUNE = window_of_months("2026-06-01", "2026-06-01")
AWAY = Settings.in_code(
    {
        "site": "na.myconnectwise.net",
        "company": "acme",
        "public_key": "topsecret",
        "private_key": "topsecret",
        "client_id": "topsecret",
        "warehouse_dsn": "postgresql://nobody:topsecret@/none?host=/nowhere",
    }
)
TICKETS = dg.AssetKey(["connectwise", "service_tickets"])


@pytest.fixture(scope="module")
def settings() -> Settings:
    return AWAY


@pytest.fixture(scope="module")
def core(settings: Settings) -> dg.Definitions:
    return definitions(settings, select(None))


def day(number: int, month: int = 6) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


class TestPlan:
    def test_nothing_asked_means_what_changed(self) -> None:
        assert request_from_config(SyncConfig(), None, NOW) == SyncRequest()

    def test_months_that_were_selected_are_read_again_and_not_beyond(self) -> None:
        assert request_from_config(SyncConfig(), JUNE, NOW) == SyncRequest(window=JUNE, closed=True)

    def test_the_current_month_is_read_to_its_open_end(self) -> None:
        november = window_of_months("2026-11-01", "2026-11-01")
        plan = request_from_config(SyncConfig(), november, NOW)
        assert plan == SyncRequest(window=Window(november.since, NOW), closed=False)

    def test_the_schedule_reads_on_from_the_watermark_whatever_month_it_is_stamped_with(
        self,
    ) -> None:
        assert request_from_config(SyncConfig(mode="incremental"), JUNE, NOW) == SyncRequest()

    def test_since_and_until_ask_for_less_than_a_month(self) -> None:
        config = SyncConfig(since="2026-06-10", until="2026-06-11T00:00:00Z")
        assert request_from_config(config, None, NOW) == SyncRequest(
            window=Window(day(10), day(11)), closed=True
        )
        assert request_from_config(config, JUNE, NOW) == SyncRequest(
            window=Window(day(10), day(11)), closed=True
        )

    def test_full_reads_everything(self) -> None:
        assert request_from_config(SyncConfig(mode="full"), JUNE, NOW) == SyncRequest(full=True)

    @pytest.mark.parametrize(
        ("config", "says"),
        [
            (SyncConfig(mode="window"), "select months, or give `since`"),
            (SyncConfig(since="yesterday"), "since: 'yesterday' is no time"),
            (SyncConfig(since="2026-06-11", until="2026-06-10"), "an empty window"),
        ],
    )
    def test_what_makes_no_sense_says_so(self, config: SyncConfig, says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            request_from_config(config, None, NOW)

    @pytest.mark.parametrize(
        "plan",
        [
            SyncRequest(),
            SyncRequest(full=True),
            SyncRequest(window=Window(day(10), day(11)), closed=True),
            SyncRequest(window=Window(day(10), NOW)),
        ],
    )
    def test_a_command_asks_for_the_same_through_config(self, plan: SyncRequest) -> None:
        assert request_from_config(SyncConfig(**config_from_request(plan)), None, NOW) == plan


class TestMonths:
    months = months_from(date(2026, 4, 15)).get_partition_keys(current_time=NOW)

    def test_they_start_with_the_whole_month_and_end_with_the_current_one(self) -> None:
        assert (self.months[0], self.months[-1]) == ("2026-04-01", "2026-11-01")

    def test_a_first_load_covers_them_all(self) -> None:
        assert len(within(self.months, Window(None, NOW), NOW)) == 8

    def test_a_month_that_is_half_covered_is_not_covered(self) -> None:
        covered = within(self.months, Window(day(2), day(15, month=8)), NOW)
        assert covered == ["2026-07-01"]

    def test_the_current_month_is_covered_by_what_reads_up_to_now(self) -> None:
        assert within(self.months, Window(day(2, month=10), NOW), NOW) == ["2026-11-01"]
        assert within(self.months, Window(day(2, month=10), NOW - timedelta(days=1)), NOW) == []


class TestPromises:
    @staticmethod
    def standing(
        *,
        age: timedelta | None = None,
        letters: int = 0,
        audited: timedelta | None = None,
        kept: int = 0,
    ) -> EntityStatus:
        now = datetime.now(UTC)
        return EntityStatus(
            entity="",
            complete_through=None if age is None else now - age,
            age=age,
            rows=1,
            pass_open=False,
            dead_letters=letters,
            drift=0,
            reread=0,
            column_drift=0,
            quarantined=kept,
            oldest_parent=None,
            audited_at=None if audited is None else now - audited,
            proven=audited is not None and not kept,
            readable=True,
            counted_at=None,
            source_rows=None,
            counted_rows=None,
            last_run=None,
        )

    def verdict(self, name: str, standing: EntityStatus | None, entity: str) -> tuple[bool, str]:
        found = evaluate(name, CATALOG[entity], standing, Settings())
        assert standing is None or standing.complete_through is None or found.figures
        return found.passed, found.severity.value

    def test_what_never_ran_is_a_warning_not_an_alarm(self) -> None:
        assert self.verdict("fresh", None, "service/tickets") == (False, "WARN")

    def test_a_watermark_older_than_promised_is_an_alarm(self) -> None:
        fresh, late = self.standing(age=timedelta(hours=1)), self.standing(age=timedelta(hours=3))
        assert self.verdict("fresh", fresh, "service/tickets")[0]
        assert self.verdict("fresh", late, "service/tickets") == (False, "ERROR")

    def test_children_may_be_as_old_as_their_rotation_makes_them(self) -> None:
        late = self.standing(age=timedelta(hours=20))
        assert self.verdict("fresh", late, "service/boards/types")[0]

    def test_a_few_dead_letters_warn_and_many_alarm(self) -> None:
        few, many = (self.standing(age=timedelta(), letters=n) for n in (1, 101))
        assert self.verdict("dead_letters", self.standing(), "service/tickets")[0]
        assert self.verdict("dead_letters", few, "service/tickets") == (False, "WARN")
        assert self.verdict("dead_letters", many, "service/tickets") == (False, "ERROR")

    def test_a_proof_grows_old(self) -> None:
        age = timedelta(minutes=1)
        lately, long_ago = (
            self.standing(age=age, audited=timedelta(hours=hours)) for hours in (20, 40)
        )
        assert self.verdict("proven", lately, "service/tickets")[0]
        assert self.verdict("proven", long_ago, "service/tickets") == (False, "ERROR")

    def test_rows_that_the_delete_guard_keeps_come_with_the_command_that_says_why(self) -> None:
        kept = self.standing(age=timedelta(), audited=timedelta(hours=1), kept=3)
        found = evaluate("proven", CATALOG["service/tickets"], kept, Settings())
        assert not found.passed
        assert "3 rows" in found.description
        assert "reconcile --list-deletes" in found.description


class TestDefinitions:
    def test_they_load_without_warehouse_and_tenant(self, core: dg.Definitions) -> None:
        dg.Definitions.validate_loadable(core)

    def test_each_entity_is_an_asset_grouped_by_module(self, core: dg.Definitions) -> None:
        graph = core.resolve_asset_graph()
        for entity in select(None):
            node = graph.get(dg.AssetKey(["connectwise", entity.table]))
            assert node.group_name == entity.module
            assert node.is_partitioned == (entity.mode is SyncMode.INCREMENTAL)
            assert node.kinds == {"connectwise", "postgres"}
            assert node.description
            assert node.owners
            # It knows materializations alone: a list that does not change would fail it.
            assert node.freshness_policy is None

    def test_an_asset_shows_its_table_columns_path_and_declaration(
        self, core: dg.Definitions
    ) -> None:
        told = core.resolve_asset_graph().get(TICKETS).metadata
        columns = {column.name: column for column in told["dagster/column_schema"].columns}
        assert told["dagster/table_name"] == "connectwise.service_tickets"
        assert columns["id"].type == "bigint"
        assert not columns["id"].constraints.nullable
        assert columns["board_name"].type == "text"
        assert "/service/tickets" in told["API"].value
        (declared,) = told["dagster/code_references"].code_references
        with open(declared.file_path, encoding="utf-8") as file:  # noqa: PTH123
            assert '"/service/tickets"' in file.readlines()[declared.line_number - 1]

    def test_a_report_shows_what_each_column_comes_from(self) -> None:
        graph = definitions(Settings(), select(None)).resolve_asset_graph()
        for node in map(graph.get, graph.get_all_asset_keys()):
            if node.group_name == "reporting":
                deps = node.metadata["dagster/column_lineage"].deps_by_column.values()
                assert {dep.asset_key for each in deps for dep in each} <= node.parent_keys
        forecast = ["connectwise", "sales_opportunities_forecast"]
        for report, column, table, its in (
            ("fct_ticket", "summary", ["reporting", "fct_ticket_all"], "summary"),
            ("dim_company", "company_name", ["connectwise", "company_companies"], "name"),
            ("fct_opportunity_forecast", "revenue", forecast, "forecast_items.revenue"),
        ):
            told = graph.get(dg.AssetKey(["reporting", report])).metadata
            (dep,) = told["dagster/column_lineage"].deps_by_column[column]
            assert dep == dg.TableColumnDep(dg.AssetKey(table), its)

    def test_a_report_has_no_column_of_an_entity_that_was_not_chosen(self) -> None:
        graph = definitions(Settings(), [CATALOG["service/tickets"]]).resolve_asset_graph()
        dims = graph.get(dg.AssetKey(["reporting", "dim_company"])).metadata
        assert dims["dagster/column_lineage"].deps_by_column == {}
        name = dims["dagster/column_schema"].columns[2]
        assert name.description == "name ← company_companies.name"
        assert {each.name: each.type for each in dims["dagster/column_schema"].columns}[
            "company_id"
        ] == "bigint"

    def test_every_column_of_a_report_has_its_type_in_the_database(
        self, core: dg.Definitions
    ) -> None:
        graph = core.resolve_asset_graph()
        keys = [key for key in graph.get_all_asset_keys() if key.path[0] == "reporting"]
        keys = [key for key in keys if not key.path[-1].endswith("_all")]  # read by ours alone
        types = {
            column.type
            for key in keys
            for column in graph.get(key).metadata["dagster/column_schema"].columns
        }
        assert {"bigint", "text", "timestamp with time zone"} <= types
        assert not {"string", "unknown"} & types

    def test_a_chosen_report_is_an_asset_with_a_schedule(self) -> None:
        made = definitions(Settings(reports="Service, ServiceNote"), [CATALOG["service/tickets"]])
        job = made.resolve_job_def("report_tables").asset_layer.asset_graph
        tables = {key.path[-1] for key in job.materializable_asset_keys}
        assert tables == {"report_service", "report_service_note"}
        assert {key.name for key in job.asset_check_keys} == {"sync_ok"}
        assert "report_tables" in {each.name for each in made.schedules or []}

    def test_a_private_column_is_tagged_so(self) -> None:
        hidden = Settings(hash_columns="service_tickets.contact_*", hash_key="a long secret")
        made = definitions(hidden, [CATALOG["service/tickets"]])
        told = made.resolve_asset_graph().get(TICKETS).metadata["dagster/column_schema"]
        tags = {column.name: column.tags for column in told.columns}
        assert tags["contact_phone_number"] == {"hashed": ""}
        assert tags["id"] == {"key": ""}

    def test_a_child_links_to_its_parent(self, core: dg.Definitions) -> None:
        node = core.resolve_asset_graph().get(dg.AssetKey(["connectwise", "service_boards_types"]))
        assert node.metadata["parent"].value == dg.AssetKey(["connectwise", "service_boards"])

    def test_another_schema_makes_other_keys(self) -> None:
        made = definitions(Settings(CW_SCHEMA="acme"), [CATALOG["service/tickets"]])
        assert (
            dg.AssetKey(["acme", "service_tickets"])
            in made.resolve_asset_graph().get_all_asset_keys()
        )

    def test_a_refresh_does_not_pay_for_the_other_checks(self, core: dg.Definitions) -> None:
        job = core.resolve_job_def("refresh").asset_layer
        graph = core.resolve_asset_graph()
        keys = {key for key in graph.asset_check_keys if job.asset_graph.has(key)}
        assert {check.name for check in keys} == {"sync_ok"}

    def test_every_schedule_is_on_until_somebody_switches_it_off(
        self, core: dg.Definitions
    ) -> None:
        made = {each.name: each for each in core.schedules or []}
        assert set(made) == {
            "refresh",
            "promises",
            "reconcile",
            "reread",
            "report_columns",
            "reporting_keys",
            "maintenance",
        }
        assert {each.default_status.value for each in made.values()} == {"RUNNING"}

    def test_lists_that_are_read_whole_are_read_daily(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entities = [CATALOG["service/tickets"], CATALOG["service/tickets/changelogs"]]
        made = definitions(AWAY, entities)
        with _instance(tmp_path, monkeypatch) as instance:
            keys = {}
            for name in ("refresh", "reference"):
                (request,) = _tick(made, instance, name).run_requests or ()
                keys[name] = request.asset_selection
        assert keys["refresh"] == [TICKETS]
        assert keys["reference"] == [dg.AssetKey(["connectwise", "service_tickets_changelogs"])]

    def test_where_the_tenant_cannot_be_asked_a_run_of_all_lists_shows_why(
        self, core: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with _instance(tmp_path, monkeypatch) as instance:
            (request,) = _tick(core, instance).run_requests
        assert request.partition_key == "2026-11-01"
        assert request.run_config["ops"]["sync"] == {"config": {"mode": "incremental"}}
        assert len(request.asset_selection) == len(select(None))

    def test_a_refresh_that_is_still_going_makes_the_next_one_skip_but_not_another_tenants(
        self, core: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with _instance(tmp_path, monkeypatch) as instance:
            for tenant in ("acme", "connectwise"):
                assert _tick(core, instance).run_requests
                instance.create_run_for_job(
                    core.resolve_job_def("refresh"),
                    status=dg.DagsterRunStatus.STARTED,
                    tags={
                        "cw/trigger": "refresh",
                        "cw/tenant": tenant,
                        "dagster/partition": "2026-11-01",
                    },
                )
            skipped = _tick(core, instance)
        assert skipped.run_requests == []
        assert "still going" in skipped.skip_message

    def test_no_secret_is_in_what_is_loaded(self, core: dg.Definitions) -> None:
        job = core.resolve_job_def("refresh")
        assert "topsecret" not in str(job.get_job_snapshot())


def _tick(
    made: dg.Definitions, instance: dg.DagsterInstance, name: str = "refresh"
) -> ScheduleExecutionData:
    """What the schedule asks for at NOW."""
    context = dg.build_schedule_context(instance, NOW, repository_def=made.get_repository_def())
    return made.resolve_schedule_def(name).evaluate_tick(context)


class TestStorage:
    def test_sqlite_keeps_a_batch_of_months_and_finds_them_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from cw_pipeline.dagster.asset_specs import report_covered_months  # noqa: PLC0415

        with _instance(tmp_path, monkeypatch) as instance:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(TICKETS, partition="2026-01-01")
            )
            report_covered_months(
                instance, TICKETS, ["2026-01-01", "2026-02-01", "2026-03-01"], "a-run"
            )
        with _instance(tmp_path, monkeypatch) as instance:
            loaded = instance.get_materialized_partitions(TICKETS)
            events = instance.fetch_materializations(TICKETS, limit=10).records
        assert loaded == {"2026-01-01", "2026-02-01", "2026-03-01"}
        assert len(events) == 3
        assert events[0].partition_key == "2026-03-01"


def _instance(home: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """The instance that the project's dagster.yaml configures."""
    prepare_dagster_yaml(home, None)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return dg.DagsterInstance.get()


def test_the_code_location_loads_with_nothing_configured_and_quickly(tmp_path: Path) -> None:
    code = "from cw_pipeline.dagster.definitions import defs; print(len(defs.assets))"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CW_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**kept, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was started or written
