"""Two runners of one entity: the second says who holds it; a dead one holds nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.errors import EntityBusy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TICKETS = "service/tickets"
HOLDING = """
import sys
from datetime import UTC, datetime, timedelta
from cw_pipeline.catalog import CATALOG
from cw_pipeline.warehouse import Database, open_store
from cw_pipeline.model import Checkpoint, IdRange, Window
from cw_pipeline.transform import PageReader
tickets, span = CATALOG["service/tickets"], timedelta(seconds=float(sys.argv[2]))
store = Database(sys.argv[1], "connectwise", lease_span=span)
with store, open_store(store, tickets, "refresh") as hold:
    hold.save_checkpoint(Checkpoint(None, Window(None, datetime.now(UTC).replace(microsecond=0))))
    print("held", flush=True)
    for line in sys.stdin:
        batch = PageReader(tickets).read_page(b'[{"id": %s}]' % line.strip().encode())
        hold.load(batch, IdRange(0, None, int(line)))
        print("loaded", flush=True)
"""
"""Loads a ticket for each id that it is given, one a line."""


@pytest.fixture
def holder(story: Story) -> Iterator[Popen[str]]:
    """Another process that is in the middle of a refresh."""
    with holding(story, span=45) as process:
        yield process


@contextmanager
def holding(story: Story, *, span: float) -> Iterator[Popen[str]]:
    """Another process that is in the middle of a refresh, with leases of `span` seconds."""
    command = [sys.executable, "-c", HOLDING, story.dsn, str(span)]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    pipes = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}
    with Popen(command, env=environment, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_runner_names_the_first_and_leaves_at_once(
    story: Story, holder: Popen[str]
) -> None:
    began = time.monotonic()
    report = story.sync(TICKETS)[TICKETS]
    assert isinstance(report.failure, EntityBusy)
    assert f":{holder.pid}" in str(report.failure)
    assert time.monotonic() - began < 10
    assert story.rows("select * from cw_sync.run where kind = 'refresh' and status = 'done'") == []


def test_a_killed_runner_holds_nothing_and_its_run_is_no_longer_open(
    story: Story, holder: Popen[str]
) -> None:
    """On the same machine, where the next runner sees that its process is gone: at once."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    report = story.one(TICKETS)
    assert report.rows_read == 0
    runs = story.rows("select status, error from cw_sync.run order by run_id")
    assert [run["status"] for run in runs] == ["failed", "done"]
    assert "gone before it ended" in runs[0]["error"]


def taken_over(story: Story, patience: float) -> float:
    """Syncs as soon as it may: after how many seconds."""
    began = time.monotonic()
    while (failure := story.sync(TICKETS)[TICKETS].failure) is not None:
        assert isinstance(failure, EntityBusy)
        assert time.monotonic() < began + patience
        time.sleep(0.1)
    return time.monotonic() - began


def test_a_runner_that_is_stopped_loses_its_hold_and_writes_nothing_when_it_goes_on(
    story: Story, tenant: Tenant
) -> None:
    with holding(story, span=2) as runner:
        assert runner.stdin is not None
        runner.send_signal(signal.SIGSTOP)
        tenant.put("/service/tickets", {"id": 5, "summary": "five"})
        taken_over(story, patience=30)
        checkpoint = story.checkpoint(TICKETS)
        runner.stdin.write("7\n")
        runner.stdin.close()
        runner.send_signal(signal.SIGCONT)
        assert runner.wait(60) == 1
        assert runner.stderr is not None
        assert "EntityBusy: service/tickets: another runner has taken this over" in (
            runner.stderr.read()
        )
    assert set(story.table(TICKETS)) == {5}
    assert story.checkpoint(TICKETS) == checkpoint
    runs = story.rows("select status from cw_sync.run order by run_id")
    assert [run["status"] for run in runs] == ["failed", "done"]


def test_a_runner_is_taken_over_from_another_machine_when_its_lease_has_ended(
    story: Story,
) -> None:
    """There nobody can see whether its process lives."""
    with holding(story, span=4) as runner:
        story.rows("update cw_sync.lease set machine = 'another one' returning 1")
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        assert isinstance(story.sync(TICKETS)[TICKETS].failure, EntityBusy)
        taken_over(story, patience=30)


def test_a_runner_that_lives_is_never_taken_over(story: Story) -> None:
    with holding(story, span=2) as runner:
        assert runner.stdin is not None
        assert runner.stdout is not None
        for own in range(1, 7):
            assert isinstance(story.sync(TICKETS)[TICKETS].failure, EntityBusy)
            print(own, file=runner.stdin, flush=True)
            assert runner.stdout.readline() == "loaded\n"
            time.sleep(0.5)
    assert set(story.table(TICKETS)) == set(range(1, 7))
