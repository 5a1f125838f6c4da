"""The worker that stays, and the schedules beside it, which must not ask for the same again."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.dagster.watch import ChangeWatch
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.settings import Settings
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
