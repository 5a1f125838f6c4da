"""The worker that stays, and the schedules beside it, which must not ask for the same again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

import dagster as dg
import psycopg
import pytest

from cw_pipeline import composition
from cw_pipeline.catalog import CATALOG
from cw_pipeline.dagster.asset_specs import month_of
from cw_pipeline.dagster.checks import CALLBACKS, CheckResult, evaluate_tenant
from cw_pipeline.dagster.live_events import live_event_sensor
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.dagster.watch import ChangeWatch
from cw_pipeline.errors import WarehouseError
from cw_pipeline.live.hints import Hint, add_up_runs, count_callbacks, note_receiver, put_hints
from cw_pipeline.live.worker import LiveTenant, Worker
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.settings import Settings
from cw_pipeline.sync.paces import Paces
from cw_pipeline.warehouse.callbacks import callback_standing
from cw_pipeline.warehouse.lease import LIVE
from cw_pipeline.warehouse.rounds import changes_outside_dagster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Shell, Story

TICKETS, BOARDS, TYPES = "service/tickets", "service/boards", "service/boards/types"
LISTS = (TICKETS, BOARDS, TYPES)
AGED = "update cw_sync.checkpoint set watermark_at = watermark_at - %s::interval where entity = %s"


def wait_until(is_so: Callable[[], object], seconds: float = 60) -> None:
    """Returns once it is so, and fails if that takes too long."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def being_live(story: Story) -> Iterator[None]:
    """Inside the block the tenant has a worker that stays, which does nothing."""
    with Pipeline(story.settings()) as other:
        context = other.connect([])
        with context.database.leases.hold(LIVE, LIVE):
            yield


@pytest.fixture
def synced(story: Story, few_records: None) -> Story:  # noqa: ARG001 - it fills the tenant
    story.sync(*LISTS)
    story.sync(*LISTS)  # children, whose parents were read at the same moment
    return story


def test_a_tick_asks_for_nothing_that_live_has_just_asked(synced: Story) -> None:
    with Pipeline(synced.settings()) as tick:
        with being_live(synced):
            synced.simulator.requests.clear()
            assert str(tick.find_changes(*LISTS, beside_live=True)) == "live has just asked 3 lists"
            assert synced.simulator.requests == []
        assert tick.find_changes(*LISTS, beside_live=True).kept_by_live == 0


def test_a_tick_asks_for_what_live_does_not_get_read(synced: Story) -> None:
    with being_live(synced), Pipeline(synced.settings()) as tick:
        for late, name, asked in (
            ("29 min", TICKETS, False),
            ("121 min", BOARDS, True),
            ("2 min", TICKETS, True),
        ):
            synced.rows(f"{AGED} returning 1", late, name)
            synced.simulator.requests.clear()
            tick.find_changes(*LISTS, beside_live=True)
            assert (synced.simulator.count_by_path()[f"/{name}"] > 0) == asked


def test_live_is_killed_and_the_schedule_catches_up(
    shell: Shell,
    story: Story,
    tenant: Tenant,
    few_records: None,  # noqa: ARG001 - it fills the tenant
) -> None:
    entities = [CATALOG[name] for name in LISTS]
    watch = ChangeWatch(TenantSetup(Settings.read(), entities, Settings.read))
    live = shell.start("live")
    try:
        query = "select 1 from cw_sync.freshness having count(*) = %s"
        wait_until(lambda: live.poll() is not None or _is_there(story, query, len(LISTS)))
        changes, _ = watch.look(LISTS) or (None, None)
        assert str(changes) == "live has just asked 3 lists"
    finally:
        live.kill()
        live.communicate()
    tenant.edit("/service/tickets", 1, summary="Edited")
    changes, _ = watch.look(LISTS) or (None, None)
    assert changes is not None
    assert changes.changed == (TICKETS,)


@pytest.mark.usefixtures("shell")
def test_live_ends_with_who_started_it(story: Story) -> None:
    command = [sys.executable, "-m", "cw_pipeline", "live", "--with-parent"]
    live = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert live.stdin is not None
    query = "select 1 from cw_sync.lease where tenant = 'connectwise' and purpose = %s"
    try:
        wait_until(lambda: live.poll() is not None or _is_there(story, query, LIVE))
        live.stdin.close()  # as when that was killed
        assert live.wait(60) == 0  # `up` says what it has started, and that it ends
        assert not story.rows(query, LIVE)
    finally:
        live.kill()
        live.stdin.close()


def _is_there(story: Story, query: str, *values: object) -> bool:
    try:
        return bool(story.rows(query, *values))
    except psycopg.errors.UndefinedTable:  # it has not made its tables yet
        return False


@contextmanager
def living(*settings: Settings, say: Callable[[str], None] = print) -> Iterator[None]:
    """Inside the block these tenants, of one warehouse, are kept up to date in one process."""
    with ExitStack() as stack:
        shared = stack.enter_context(composition.shared_parts(settings[0], 8))
        pipelines = [stack.enter_context(Pipeline(each, shared=shared)) for each in settings]
        worker = Worker([LiveTenant(each, say) for each in pipelines], shared.connections)
        thread = Thread(target=worker.run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(worker.stop.set)
        yield


def test_one_process_keeps_several_tenants_whatever_becomes_of_one(
    story: Story,
    few_records: None,  # noqa: ARG001 - it fills the tenant
) -> None:
    usual = {"entities": TICKETS, "requests_per_minute": 100_000}
    said: list[str] = []
    with living(
        story.settings(CW_SCHEMA="acme", **usual),
        story.settings(CW_SCHEMA="initech", **usual, private_key="wrong"),
        story.settings(CW_SCHEMA="globex", **usual),
        say=said.append,
    ):
        synced = "select 1 from cw_sync.freshness where tenant in ('acme', 'globex')"
        wait_until(lambda: _is_there(story, f"{synced} having count(*) = 2"))
        story.tenant.edit("/service/tickets", 3, summary="Edited")
        with psycopg.connect(story.dsn) as connection:
            put_hints(connection, [Hint("globex", "ticket", 3, "updated")])
        edited = "select 1 from globex.service_tickets where summary = %s"
        wait_until(lambda: _is_there(story, edited, "Edited"))
        assert not story.rows("select 1 from acme.service_tickets where summary = 'Edited'")
        wait_until(lambda: any("CW_PRIVATE_KEY" in line for line in said))


def test_tenants_whose_connectwise_is_silent_hold_up_no_other(
    story: Story,
    few_records: None,  # noqa: ARG001 - it fills the tenant
) -> None:
    usual = {"entities": TICKETS, "requests_per_minute": 100_000}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = f"http://127.0.0.1:{silent.getsockname()[1]}"
        slow = [story.settings(CW_SCHEMA=f"slow_{at}", site=site, **usual) for at in range(3)]
        with living(*slow, story.settings(CW_SCHEMA="globex", **usual)):
            synced = "select 1 from cw_sync.freshness where tenant = 'globex'"
            wait_until(lambda: _is_there(story, synced))
            silent.close()  # or the end would wait for answers


def test_tenants_of_one_process_wait_for_no_answer_to_another(story: Story) -> None:
    settings, done = story.settings(), Event()
    with (
        composition.shared_parts(settings, 8) as shared,
        composition.sync_context(settings, shared=shared) as one,
        composition.sync_context(settings, shared=shared) as other,
    ):
        for _ in range(100):
            one.fetchers.submit(done.wait, 20)
        other.fetchers.submit(int).result(10)
        done.set()


def test_hints_are_read_through_a_pooler(story: Story, pooled_dsn: str, few_records: None) -> None:  # noqa: ARG001 - it fills the tenant
    direct, story.dsn = story.dsn, pooled_dsn
    with living(story.settings(entities=TICKETS)):
        story.dsn = direct
        wait_until(lambda: _is_there(story, "select 1 from cw_sync.freshness"))
        story.tenant.edit("/service/tickets", 3, summary="Edited")
        with psycopg.connect(story.dsn) as connection:
            put_hints(connection, [Hint("connectwise", "ticket", 3, "updated")])
        edited = "select 1 from connectwise.service_tickets where summary = 'Edited'"
        wait_until(lambda: _is_there(story, edited))


def test_a_second_worker_waits_and_takes_over(synced: Story) -> None:
    said: list[str] = []
    with ExitStack() as first:
        first.enter_context(being_live(synced))
        with living(synced.settings(entities=TICKETS), say=said.append):
            wait_until(lambda: said)
            assert said[0].startswith("another live is there")
            first.close()
            wait_until(lambda: "live: 1 lists" in said)


def test_a_worker_that_stood_still_leaves_the_tenant_to_the_one_that_took_over(
    synced: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cw_pipeline.warehouse.lease._RENEWALS", 90)  # each half second
    said: list[str] = []
    with living(synced.settings(entities=TICKETS), say=said.append):
        wait_until(lambda: "live: 1 lists" in said)
        synced.rows("delete from cw_sync.lease where purpose = 'live' returning 1")
        with being_live(synced):
            wait_until(lambda: any(each.startswith("stood still") for each in said))
            wait_until(lambda: any(each.startswith("another live") for each in said))
        wait_until(lambda: said.count("live: 1 lists") == 2)


def test_first_loads_are_left_to_dagster_where_it_shows_them(
    story: Story,
    few_records: None,  # noqa: ARG001 - it fills the tenant
) -> None:
    with Pipeline(story.settings(entities=f"{TICKETS},{BOARDS}")) as pipeline:
        tenant = LiveTenant(pipeline, print, leaves_first_load=True)
        tenant.connect()
        tenant.read_due_lists()
        assert not story.simulator.requests
        story.sync(TICKETS)
        story.tenant.edit("/service/tickets", 1, summary="Edited")
        again = LiveTenant(pipeline, print, leaves_first_load=True)
        again.connect()
        again.read_due_lists()
        assert story.table(TICKETS)[1]["summary"] == "Edited"
        assert story.table(BOARDS) == {}


def test_a_list_below_a_parent_that_live_leaves_is_read_by_the_schedule(
    story: Story,
    few_records: None,  # noqa: ARG001 - it fills the tenant
) -> None:
    story.sync(TICKETS, BOARDS)
    with being_live(story), Pipeline(story.settings()) as tick:
        assert tick.find_changes(*LISTS, beside_live=True).changed == (TYPES,)


def test_lists_that_are_asked_hourly_are_neither_asked_each_minute_nor_forgotten(
    story: Story,
    few_records: None,  # noqa: ARG001 - it fills the tenant
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story.sync(TICKETS, BOARDS)  # no type was ever read
    now = 1000.0
    monkeypatch.setattr("cw_pipeline.live.worker.Paces", partial(Paces, clock=lambda: now))
    with (
        psycopg.connect(story.dsn, autocommit=True) as connection,
        Pipeline(story.settings(entities=",".join(LISTS))) as pipeline,
    ):
        tenant = LiveTenant(pipeline, print, leaves_first_load=True)
        tenant.connect()
        connection.execute("alter table cw_sync.checkpoint rename to away")
        with pytest.raises(WarehouseError):
            tenant.read_due_lists()
        connection.execute("alter table cw_sync.away rename to checkpoint")
        for asked in (True, False):
            story.simulator.requests.clear()
            now += 61
            tenant.read_due_lists()
            assert (story.simulator.count_by_path()[f"/{BOARDS}"] > 0) == asked


def test_all_that_is_below_a_busy_list_is_read_with_it(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, statuses, rules = 1000.0, f"{BOARDS}/statuses", f"{BOARDS}/statuses/notifications"
    monkeypatch.setattr("cw_pipeline.live.worker.Paces", partial(Paces, clock=lambda: now))
    with Pipeline(story.settings(entities=f"{BOARDS},{statuses},{rules}")) as pipeline:
        (tenant := LiveTenant(pipeline, print)).connect()
        for at in (1, 2, 3):
            for path in ("", f"/{at}/statuses", f"/{at}/statuses/{at}/notifications"):
                story.tenant.put(f"/service/boards{path}", {"id": at})
            tenant.read_due_lists()
            now += 61
    assert set(story.table(rules)) == {1, 2, 3}


class TestCallbacksAreChecked:
    def test_check_says_what_is_not_registered_and_whether_anybody_listens(
        self, shell: Shell
    ) -> None:
        shell.monkeypatch.setenv("CW_CALLBACK_URL", "https://hooks.example.com")
        code, said, _ = shell.run("check")
        assert code == 1
        assert "✗ callbacks: no receiver listens: start" in said
        assert "not registered as needed (add Ticket):" in said
        shell.run("callbacks", "apply")
        code, said, _ = shell.run("check")
        assert code == 0
        assert "! callbacks: no receiver listens: start" in said
        assert "not registered" not in said

    def test_dagster_sees_what_came_and_what_was_refused(self, synced: Story) -> None:
        settings = synced.settings(callback_url="https://hooks.example.com")
        tenant = TenantSetup(settings, [CATALOG[TICKETS]], lambda: settings)

        def result() -> CheckResult:
            run = PipelineRun(tenant, "", yielding=True)
            try:
                return evaluate_tenant(tenant, run)[CALLBACKS]
            finally:
                run.close()

        assert "no receiver listens" in result().description
        with psycopg.connect(synced.dsn) as connection:
            note_receiver(connection, ["connectwise"])
            count_callbacks(
                connection, {("connectwise", "signature"): 3, ("connectwise", "taken"): 1}
            )
        told = result()
        assert told.passed
        assert told.description.startswith("last one 2")
        assert told.description.endswith("refused: signature 3")

    def test_dagster_shows_what_live_read(
        self, synced: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        settings, key = synced.settings(), dg.AssetKey(["connectwise", "service_tickets"])
        tenant = TenantSetup(settings, [CATALOG[TICKETS]], lambda: settings)
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance)
            sensor = live_event_sensor(tenant)
            synced.rows(
                "update cw_sync.run set finished_at = date_trunc('minute', now()) - interval '61 s'"
                " where rows_inserted > 0 returning 1"
            )
            first = sensor.evaluate_tick(context)
            assert first.skip_message == "1 list changed by live"
            (observed,) = instance.fetch_observations(key, limit=10).records
            assert observed.asset_observation is not None
            assert observed.asset_observation.metadata["rows_changed"].value == 30
            shown = instance.fetch_materializations(key, limit=10).records
            assert [each.partition_key for each in shown] == [month_of(datetime.now(UTC))]
            synced.rows("update cw_sync.run set finished_at = now() returning 1")
            context = dg.build_sensor_context(instance, cursor=first.cursor)
            again = sensor.evaluate_tick(context)
            assert again.skip_message == "nothing changed by live"

    def test_dagster_shows_reports_as_new_once_they_have_what_live_read(
        self, synced: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        settings = synced.settings()
        tenant = TenantSetup(settings, [CATALOG[TICKETS]], lambda: settings)
        synced.rows(
            "update cw_sync.run set finished_at = date_trunc('minute', now()) - interval '61 s'"
            " where rows_inserted > 0 returning 1"
        )
        with dg.DagsterInstance.ephemeral() as instance:
            sensor, cursor = live_event_sensor(tenant), ""
            reports = ("fct_ticket_all", "fct_member_day", "kpi_backlog_daily")

            def shown_after_a_quarter_of_an_hour(*, changed: bool = False) -> list[int]:
                nonlocal cursor
                kept = json.loads(cursor or "{}")
                for name in kept.keys() & {"reported_at", *(["until"] if changed else [])}:
                    earlier = datetime.fromisoformat(kept[name]) - timedelta(minutes=15)
                    kept[name] = earlier.isoformat()
                context = dg.build_sensor_context(instance, cursor=json.dumps(kept))
                cursor = sensor.evaluate_tick(context).cursor or ""
                keys = [dg.AssetKey(["reporting", name]) for name in reports]
                return [len(instance.fetch_materializations(k, limit=9).records) for k in keys]

            assert shown_after_a_quarter_of_an_hour() == [0, 0, 0]  # nothing is published
            with Pipeline(settings) as pipeline:
                pipeline.publish()
            refreshed = (
                "update cw_sync.publication set refreshed_at = now() - %s::interval"
                " where is_table returning 1"
            )
            synced.rows(refreshed, "5 min")  # before the change: it is not in them
            assert shown_after_a_quarter_of_an_hour(changed=True) == [1, 0, 1]
            synced.rows(refreshed, "1 s")
            assert shown_after_a_quarter_of_an_hour() == [2, 0, 1]
            assert shown_after_a_quarter_of_an_hour() == [2, 0, 1]

    @pytest.mark.parametrize(("by_hint", "by_pass", "fault"), [(9, 11, True), (10, 10, False)])
    def test_edits_that_no_callback_brought_are_a_fault(
        self, dsn: str, by_hint: int, by_pass: int, *, fault: bool
    ) -> None:
        with psycopg.connect(dsn) as connection:
            note_receiver(connection, ["connectwise"])
            for entity, kind, rows, ago in (
                (TICKETS, "refresh", 5000, 3),
                (TICKETS, "hint", by_hint, 2),
                (TICKETS, "refresh", by_pass, 1),
                ("company/companies/sites", "refresh", 500, 1),  # no hint ever reads these
            ):
                connection.execute(
                    "insert into cw_sync.run (run_id, tenant, entity, kind, started_at,"
                    " rows_inserted) values (nextval('cw_sync.next_run_id'), 'connectwise',"
                    " %s, %s, now() - %s * interval '1 h', %s)",
                    [entity, kind, ago, rows],
                )
            found = callback_standing(connection, "connectwise")
            assert (found.by_hint, found.by_pass) == (by_hint, by_pass)
            assert any("less than half" in each for each in found.faults) == fault


class TestDagsterIsToldOfEachRunOnce:
    """Whenever it is asked: by a clock that the test sets, where `now()` is looked for first."""

    @pytest.fixture
    def asking(self, dsn: str) -> Iterator[psycopg.Connection]:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                "create schema clock; create function clock.now() returns timestamptz language sql"
                " stable as $$ select current_setting('clock.now')::timestamptz $$;"
                "set search_path = clock, pg_catalog"
            )
            yield connection

    @pytest.fixture
    def closing(self, dsn: str) -> Iterator[psycopg.Connection]:
        with psycopg.connect(dsn) as connection:
            yield connection

    def told(
        self, asking: psycopg.Connection, now: datetime, since: datetime
    ) -> tuple[datetime, int]:
        """Up to when, and how many rows."""
        asking.execute("select set_config('clock.now', %s, false)", [now.isoformat()])
        until, changes = changes_outside_dagster(asking, "connectwise", since, timedelta())
        return until, sum(each.rows for each in changes)

    def ran(
        self, connection: psycopg.Connection, rows: int, began: datetime, ended: datetime
    ) -> None:
        connection.execute(
            "insert into cw_sync.run (run_id, tenant, entity, kind, status, started_at,"
            " finished_at, rows_updated) values (nextval('cw_sync.next_run_id'),"
            " 'connectwise', 'service/tickets', 'hint', 'done', %s, %s, %s)",
            [began, ended, rows],
        )

    def test_a_run_whose_end_waits_is_told_of_once_it_is_seen(
        self, asking: psycopg.Connection, closing: psycopg.Connection
    ) -> None:
        [[ended]] = closing.execute("select now()").fetchall()
        self.ran(closing, 7, ended, ended)
        earlier = ended - timedelta(minutes=5)
        until, rows = self.told(asking, ended + timedelta(minutes=3), earlier)
        assert (until <= ended, rows) == (True, 0)
        closing.commit()
        again, rows = self.told(asking, ended + timedelta(minutes=3), until)
        assert (again > ended, rows) == (True, 7)
        assert self.told(asking, ended + timedelta(minutes=3), again) == (again, 0)

    def test_runs_that_are_added_up_are_not_told_of_again(
        self, asking: psycopg.Connection, closing: psycopg.Connection
    ) -> None:
        [[start]] = closing.execute(
            "select date_trunc('minute', now()) - interval '3 min'"
        ).fetchall()
        seconds = [start + timedelta(seconds=each) for each in range(200)]
        self.ran(closing, 1, seconds[10], seconds[20])
        self.ran(closing, 2, seconds[20], seconds[30])
        self.ran(closing, 4, seconds[58], seconds[61])
        closing.commit()
        assert self.told(asking, seconds[76], start) == (seconds[60], 3)
        add_up_runs(closing, "connectwise")
        closing.commit()
        assert self.told(asking, seconds[136], seconds[60]) == (seconds[120], 4)
        runs = closing.execute("select rows_updated from cw_sync.run order by 1").fetchall()
        assert runs == [(3,), (4,)]
