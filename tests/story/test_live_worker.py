"""The worker that stays, and the schedules beside it, which must not ask for the same again."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.dagster.checks import CALLBACKS, CheckResult, evaluate_tenant
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.dagster.watch import ChangeWatch
from cw_pipeline.live.hints import count_callbacks, note_receiver
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.settings import Settings
from cw_pipeline.warehouse.callbacks import callback_standing
from cw_pipeline.warehouse.lease import LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
            ("9 min", TICKETS, False),
            ("121 min", BOARDS, True),
            ("2 min", TICKETS, True),
        ):
            synced.rows(f"{AGED} returning 1", late, name)
            synced.simulator.requests.clear()
            tick.find_changes(*LISTS, beside_live=True)
            assert (synced.simulator.count_by_path()[f"/{name}"] > 0) == asked


def test_live_is_killed_and_the_schedule_catches_up(
    shell: Shell,
    tenant: Tenant,
    few_records: None,  # noqa: ARG001 - it fills the tenant
) -> None:
    entities = [CATALOG[name] for name in LISTS]
    watch = ChangeWatch(TenantSetup(Settings.read(), entities, Settings.read))
    live = shell.start("live")
    try:
        query = "select count(*) from cw_sync.freshness"
        wait_until(lambda: live.poll() is not None or _is_there(shell, query, len(LISTS)))
        changes, _ = watch.look(LISTS) or (None, None)
        assert str(changes) == "live has just asked 3 lists"
    finally:
        live.kill()
        live.communicate()
    tenant.edit("/service/tickets", 1, summary="Edited")
    changes, _ = watch.look(LISTS) or (None, None)
    assert changes is not None
    assert changes.changed == (TICKETS,)


def _is_there(shell: Shell, query: str, number: int) -> bool:
    try:
        return shell.rows(query) == [(number,)]
    except Exception:  # noqa: BLE001 - it has not made its tables yet
        return False


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

        assert "no receiver listens" in result().told
        with psycopg.connect(synced.dsn) as connection:
            note_receiver(connection, ["connectwise"])
            count_callbacks(
                connection, {("connectwise", "signature"): 3, ("connectwise", "taken"): 1}
            )
        told = result()
        assert told.passed
        assert told.told.startswith("last one 2")
        assert told.told.endswith("refused: signature 3")

    @pytest.mark.parametrize(("by_hint", "by_pass", "fault"), [(9, 11, True), (10, 10, False)])
    def test_edits_that_no_callback_brought_are_a_fault(
        self, dsn: str, by_hint: int, by_pass: int, *, fault: bool
    ) -> None:
        with psycopg.connect(dsn) as connection:
            note_receiver(connection, ["connectwise"])
            for kind, rows, ago in (
                ("refresh", 5000, 3),
                ("hint", by_hint, 2),
                ("refresh", by_pass, 1),
            ):
                connection.execute(
                    "insert into cw_sync.run (run_id, tenant, entity, kind, started_at,"
                    " rows_inserted) values (nextval('cw_sync.next_run_id'), 'connectwise',"
                    " 'service/tickets', %s, now() - %s * interval '1 h', %s)",
                    [kind, ago, rows],
                )
            found = callback_standing(connection, "connectwise")
            assert (found.by_hint, found.by_pass) == (by_hint, by_pass)
            assert any("less than half" in each for each in found.faults) == fault
