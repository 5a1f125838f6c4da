"""What commands do, from Python: for notebooks, in a process that is somebody else's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from cw_pipeline import Pipeline, Settings
from cw_pipeline.errors import ConfigError, Interrupted, SourceUnreachable, WarehouseError
from cw_pipeline.paths import ROOT
from cw_pipeline.simulator import CLIENT_ID, Fault
from tests.story.conftest import HASTY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.story.conftest import Story

TICKETS = "service/tickets"
PATH = "/service/tickets"
BOARDS = "service/boards"
BOARDS_PATH = "/service/boards"
TYPES = "service/boards/types"


@pytest.fixture(autouse=True)
def _tenant(story: Story) -> None:
    story.tenant.put("/service/boards", {"id": 1, "name": "Help Desk"})
    for own in range(1, 31):
        story.tenant.put(PATH, {"id": own, "summary": f"Ticket {own}", "board": {"id": 1}})


def test_a_sync_yields_results_and_a_frame_shows_the_rows(story: Story) -> None:
    with Pipeline(story.settings()) as pipeline:
        results = {each.entity: each for each in pipeline.sync(TICKETS, BOARDS)}
        assert (results[TICKETS].rows_inserted, results[BOARDS].rows_inserted) == (30, 1)
        for name in (TICKETS, "service_tickets", "connectwise.service_tickets"):
            assert len(pipeline.frame(name)) == 30
        one = pipeline.frame(TICKETS, where="id = %s", values=[7])
        assert list(one["summary"]) == ["Ticket 7"]
        few = pipeline.frame("service_tickets", columns=["summary", "id"])
        assert list(few.columns) == ["summary", "id"]
        assert str(few["id"].dtype) == "Int64"
        (status,) = [each for each in pipeline.status() if each.entity == TICKETS]
        assert status.rows == 30
        assert status.complete_through is not None


def test_nothing_of_another_tenants_gets_into_a_schema_that_is_marked(story: Story) -> None:
    with Pipeline(story.settings()) as pipeline:
        list(pipeline.sync(BOARDS))
    for work in (Pipeline.replay, Pipeline.sync_reports, lambda own: own.sync(BOARDS)):
        with (
            Pipeline(story.settings(company="theirs")) as theirs,
            pytest.raises(ConfigError, match="theirs"),
        ):
            list(work(theirs))


def test_reporting_follows_a_sync_within_the_same_pipeline(story: Story) -> None:
    names = [TICKETS, BOARDS]
    with Pipeline(story.settings(entities=",".join(names))) as pipeline:
        list(pipeline.sync())
        assert "fct_ticket" in pipeline.publish()
        story.tenant.put(PATH, {"id": 99, "summary": "Late", "board": {"id": 1}})
        list(pipeline.sync(TICKETS))
        assert len(pipeline.frame("fct_ticket", where="ticket_id = %s", values=[99])) == 1


def test_every_other_way_of_reading_is_a_method(story: Story) -> None:
    with Pipeline(story.settings(entities=TICKETS), policy=HASTY) as pipeline:
        list(pipeline.sync())
        (again,) = pipeline.sync(TICKETS, full=True)
        assert (again.kind, again.rows_unchanged) == ("full", 30)
        yesterday = date.today() - timedelta(days=1)  # noqa: DTZ011 - as people write it
        (past,) = pipeline.backfill(TICKETS, since=yesterday)
        assert (past.kind, past.failure) == ("backfill", None)
        story.tenant.delete(PATH, 5)
        (audit,) = pipeline.reconcile()
        assert audit.proven
        assert audit.deleted == 1
        (reread,) = pipeline.reread(nights=1)
        assert reread.source_rows == 29
        assert list(pipeline.replay()) == []
        (missing,) = pipeline.replay(12)
        assert missing.outcome == "not open"


def test_a_probe_says_what_lists_allow_and_changes_no_row(story: Story) -> None:
    story.options |= {"entities": f"{TICKETS},{BOARDS}", "drop_columns": "service_tickets.summary"}
    with Pipeline(story.settings(drop_columns=None)) as pipeline:
        list(pipeline.sync())
    with Pipeline(story.settings()) as pipeline:
        lists = {found.entity: found for found in pipeline.probe()}
        assert lists[TICKETS].readable
        assert lists[TICKETS].filterable
    assert story.table(TICKETS)[7]["summary"] == "Ticket 7"  # hidden by the next sync, not by this
    with Pipeline(story.settings()) as pipeline:
        list(pipeline.sync())
    assert story.table(TICKETS)[7]["summary"] is None


def test_a_loop_that_is_left_ends_its_threads_and_the_pipeline_goes_on(story: Story) -> None:
    before = set(threading.enumerate())
    story.options |= {"page_size": 1}
    with Pipeline(story.settings()) as pipeline:
        pipeline.connect()
        connected = set(threading.enumerate())
        for _ in pipeline.sync(BOARDS, TICKETS, "company/companies"):
            break
        left = {each.name for each in set(threading.enumerate()) - connected}
        assert not [name for name in left if not name.startswith(("fetch", "leases", "pool"))]
        (after,) = pipeline.sync(TICKETS)
        assert after.failure is None
        assert after.row_count == 30
        unfinished = pipeline.sync(TICKETS, BOARDS)
        next(unfinished)
    assert _are_gone_soon(set(threading.enumerate()) - before)


def _are_gone_soon(threads: set[threading.Thread]) -> bool:
    for each in threads:
        each.join(5)
    return not any(each.is_alive() for each in threads)


def test_a_loop_is_left_at_once_while_connectwise_has_asked_for_a_long_pause(story: Story) -> None:
    before = set(threading.enumerate())
    busy = Fault("429", path=f"{BOARDS_PATH}/1/types", times=1, retry_after=600)
    story.simulator.faults.add(busy)
    with Pipeline(story.settings()) as pipeline:
        for result in pipeline.sync(BOARDS, TYPES):
            assert result.entity == BOARDS
            while not busy.fired:
                time.sleep(0.01)
            began = time.monotonic()
            break
        assert time.monotonic() - began < 5
        story.rows("update cw_sync.request_budget set paused_until = now() returning 1")
    assert _are_gone_soon(set(threading.enumerate()) - before)
    with Pipeline(story.settings()) as pipeline:
        assert [each.failure for each in pipeline.sync(BOARDS, TYPES)] == [None, None]
    (left,) = story.rows("select entity, error from cw_sync.run where status = 'failed'")
    assert left == {"entity": TYPES, "error": "interrupted"}


def test_calls_that_are_read_side_by_side_are_stopped_together(story: Story) -> None:
    with Pipeline(story.settings()) as pipeline:
        first, second = pipeline.sync(BOARDS, TICKETS), pipeline.reconcile(BOARDS, TICKETS)
        next(first)
        next(second)
        first.close()
        assert list(first) == []
        again = list(pipeline.sync(BOARDS, TICKETS))
        assert [each.failure for each in again] == [None, None]
        assert not second.is_under_way


def test_a_call_that_was_stopped_before_it_began_never_begins(story: Story) -> None:
    with Pipeline(story.settings()) as pipeline:
        results = pipeline.sync(TICKETS)
        pipeline.stop()
        with pytest.raises(Interrupted, match="sync of service/tickets was stopped before"):
            next(results)
        assert [each.failure for each in pipeline.sync(TICKETS)] == [None]


def test_a_call_after_an_outage_asks_again(story: Story) -> None:
    with Pipeline(story.settings(), policy=HASTY) as pipeline:
        story.simulator.faults.add(Fault("503", path="*"))
        with pytest.raises(SourceUnreachable):
            list(pipeline.sync(TICKETS))
        story.simulator.faults.clear()
        assert [each.failure for each in pipeline.sync(TICKETS)] == [None]


def test_a_closed_pipeline_connects_anew(story: Story) -> None:
    pipeline = Pipeline(story.settings())
    assert [each.failure for each in pipeline.sync(TICKETS)] == [None]
    pipeline.close()
    assert [each.rows_unchanged for each in pipeline.sync(TICKETS, full=True)] == [30]
    pipeline.close()


def test_results_that_nobody_asks_for_are_warned_of(story: Story) -> None:
    with Pipeline(story.settings()) as pipeline:
        with pytest.warns(RuntimeWarning, match="sync of service/tickets .* never begun"):
            pipeline.sync(TICKETS)
        found = pipeline.sync(TICKETS)
        assert repr(found).startswith("<sync of service/tickets, not begun")
        list(found)


def test_mistakes_are_named_before_anything_is_read(story: Story) -> None:
    with Pipeline(story.settings()) as pipeline:
        with pytest.raises(ConfigError, match="no entity is called 'service/ticket'; did you mean"):
            pipeline.sync("service/ticket")
        with pytest.raises(ConfigError, match=re.escape('pipeline.sync_reports("Service")')):
            pipeline.sync("system/reports/Service")
        with pytest.raises(ConfigError, match="must lie before until"):
            pipeline.backfill(TICKETS, since=date(2026, 2, 1), until=date(2026, 1, 1))
        with pytest.raises(WarehouseError, match="did you mean 'service_tickets'"):
            pipeline.frame("service_tickits")
        with pytest.raises(WarehouseError, match="no column 'sumary': did you mean 'summary'"):
            pipeline.frame(TICKETS, columns=["id", "sumary"])
        with pytest.raises(WarehouseError, match='column "sumary" does not exist'):
            pipeline.frame(TICKETS, where="sumary = 'x'")
        assert story.simulator.requests == []


def test_settings_of_a_notebook_are_checked_like_those_of_a_command(story: Story) -> None:
    with pytest.raises(ConfigError, match="CW_SITTE is no setting: did you mean 'CW_SITE'"):
        Settings.of({"CW_SITTE": "na.myconnectwise.net"})
    with Pipeline(Settings.of({"CW_WAREHOUSE_DSN": story.dsn})) as pipeline:
        assert pipeline.status() == []  # needs no tenant
        with pytest.raises(ConfigError, match="the tenant to fill it from"):
            pipeline.sync(TICKETS)


def test_what_was_synced_by_name_is_noted_as_not_kept_up(story: Story) -> None:
    with Pipeline(story.settings(entities=BOARDS)) as pipeline:
        list(pipeline.sync(TICKETS))
        list(pipeline.sync())
    kept = story.rows("select entity, wanted from cw_sync.checkpoint order by entity")
    assert [tuple(row.values()) for row in kept] == [(BOARDS, True), (TICKETS, False)]


HOST = """
import json, logging, os, signal, sys, warnings
import pandas  # which has warnings filters of its own
import stamina.instrumentation as instrumentation
def state():
    return {
        "environment": dict(os.environ),
        "signals": [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM)],
        "filters": [str(each) for each in warnings.filters],
        "hooks": [str(each) for each in instrumentation.get_on_retry_hooks()],
        "handlers": [str(each) for each in logging.getLogger().handlers],
        "levels": {name: logging.getLogger(name).level for name in ("", "cw_pipeline", "httpx")},
        "path": sys.path,
    }
"""
GUEST = """
import ctypes
asked = []
class Library(ctypes.CDLL):
    def __getattr__(self, name):
        asked.append(name)
        return super().__getattr__(name)
ctypes.CDLL = Library
import cw_pipeline
assert not [name for name in sys.modules if name.startswith("cw_pipeline.")]
before = state()
from cw_pipeline import Pipeline, Settings
with Pipeline() as pipeline:
    results = list(pipeline.sync("service/boards"))
    assert [each.failure for each in results] == [None], results
    pipeline.frame("service/boards")
    pipeline.status()
    inside = state()
after = state()
print(json.dumps([before, inside, after, asked]))
"""


@pytest.mark.parametrize("given", [True, False], ids=["a real tenant", "nothing is set"])
def test_the_process_that_uses_it_stays_as_it_was(
    story: Story, tmp_path: Path, *, given: bool
) -> None:
    environment = _environment(story) if given else _bare()
    environment["DAGSTER_HOME"] = str(tmp_path)
    tmp_path.chmod(0o755)
    environment["HTTPS_PROXY"] = environment["HTTP_PROXY"] = "http://192.0.2.1:1"
    done = subprocess.run(
        [sys.executable, "-c", HOST + GUEST],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    before, inside, after, asked = json.loads(done.stdout)
    assert inside == before
    assert after == before
    assert "mallopt" not in asked
    assert ("MADE-UP DATA" in done.stderr) is not given


def _bare() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CW_")}
    return {**kept, "PYTHONPATH": str(ROOT), "CW_ENV_FILE": os.devnull}


def _environment(story: Story) -> dict[str, str]:
    return {
        **_bare(),
        "CW_SITE": story.simulator.url,
        "CW_COMPANY": "demo",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": CLIENT_ID,
        "CW_WAREHOUSE_DSN": story.dsn,
    }


def test_the_readme_shows_python_that_runs(story: Story, tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    with Pipeline(story.settings(entities=f"{TICKETS},{BOARDS}")) as pipeline:
        pipeline.migrate()
        pipeline.publish()
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", text],
        capture_output=True,
        text=True,
        env={**_environment(story), "DAGSTER_HOME": str(tmp_path)},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "service/tickets 30" in done.stdout
