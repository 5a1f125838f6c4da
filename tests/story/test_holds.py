"""Two runners of one entity: the second says who holds it; a killed one holds nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.errors import EntityBusy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.story.conftest import Story

TICKETS = "service/tickets"
HOLDING = """
import sys
from cw_pipeline.catalog import CATALOG
from cw_pipeline.load import Warehouse
tickets = CATALOG["service/tickets"]
with Warehouse(sys.argv[1], "connectwise") as store, store.hold(tickets, "refresh"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(story: Story) -> Iterator[Popen[str]]:
    """Another process that is in the middle of a refresh."""
    command = [sys.executable, "-c", HOLDING, story.dsn]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    with Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True) as process:
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
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    deadline = time.monotonic() + 10
    while (report := story.sync(TICKETS)[TICKETS]).failure is not None:
        assert isinstance(report.failure, EntityBusy)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert report.rows_read == 0
    runs = story.rows("select status, error from cw_sync.run order by run_id")
    assert [run["status"] for run in runs] == ["failed", "done"]
    assert "gone before it ended" in runs[0]["error"]
