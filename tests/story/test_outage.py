"""What a tenant that does not answer costs, and how soon a command ends when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import msgspec
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import ConnectWise, Credentials, Policy, Site
from cw_pipeline.connectwise.retry import BACKGROUND, CircuitBreaker, Outage
from cw_pipeline.errors import Interrupted, SourceDown, SourceUnreachable
from cw_pipeline.machine import THIS
from cw_pipeline.paths import ROOT
from cw_pipeline.simulator import CLIENT_ID, Fault
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cw_pipeline.simulator import Simulator
    from tests.story.conftest import Story

BOARDS = "service/boards"
OTHERS = [entity for entity in CATALOG.values() if entity.parent is None][:60]


def client(site: str, policy: Policy, stopping: Event | None = None) -> ConnectWise:
    keys = Credentials("demo", "public", "private", CLIENT_ID)
    return ConnectWise(Site.of(site), keys, policy=policy, timeout=5, stopping=stopping)


@pytest.fixture
def silent_site() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_outage_in_the_middle_ends_all_lists_with_one_reason_and_keeps_what_was_read(
    story: Story, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    story.tenant.put("/service/boards", {"id": 1, "name": "Help Desk"})
    names = ",".join([BOARDS, *(entity.name for entity in OTHERS)])
    with story.engine(entities=names) as engine:
        (first,) = sync_entities([CATALOG[BOARDS]], engine, SyncRequest())
        assert first.failure is None
        simulator.__exit__()
        before = story.rows("select * from cw_sync.checkpoint order by entity")
        caplog.clear()
        started = time.monotonic()
        with pytest.raises(SourceUnreachable, match=r"not answered since .*Company info") as raised:
            list(sync_entities(OTHERS, engine, SyncRequest()))
    assert time.monotonic() - started < 20  # for 60 lists
    assert "CW_SITE" in str(raised.value)
    assert [row["id"] for row in story.table(BOARDS).values()] == [1]
    after = story.rows("select * from cw_sync.checkpoint order by entity")
    moved = [row for row in after if row["watermark"] is not None and row not in before]
    assert moved == []
    assert story.rows("select * from cw_sync.dead_letter") == []
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) < 10


def test_a_list_that_breaks_while_company_info_answers_is_no_outage(
    story: Story, simulator: Simulator
) -> None:
    story.tenant.put("/service/boards", {"id": 1, "name": "Help Desk"})
    simulator.faults.add(Fault("500", path="/company/companies", times=1000))
    reports = story.sync("company/companies", BOARDS)
    assert not isinstance(reports["company/companies"].failure, SourceUnreachable)
    assert reports["company/companies"].failure is not None
    assert reports[BOARDS].failure is None


def test_an_outage_that_passes_before_the_tries_are_used_up_is_survived(
    simulator: Simulator,
) -> None:
    simulator.faults.add(Fault("drop", path="/service/tickets", times=3))
    with client(simulator.url, Policy(4, 0.05, 0.1, 5)) as source:
        assert source.get("/service/tickets", msgspec.json.decode) == []


def test_what_was_asked_before_a_new_call_proves_no_outage_in_it() -> None:
    assert not Outage().is_possible(THIS.monotonic() - 60)
    assert Outage().is_possible(THIS.monotonic() + 60)


def test_people_are_told_of_an_outage_while_it_lasts(
    simulator: Simulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cw_pipeline.connectwise.retry._SAID_AFTER", 0.2)
    simulator.faults.add(Fault("drop", path="/service/tickets", times=2))
    with client(simulator.url, Policy(4, 0.5, 1, 5)) as source:
        source.get("/service/tickets", msgspec.json.decode)
    said = [each.getMessage() for each in caplog.records if each.name.endswith("retry")]
    assert "has not answered since" in said[0]
    assert "/service/tickets" in said[0]
    assert said[-1] == "ConnectWise answers again"


@pytest.mark.parametrize("waits_for", ["a retry", "a pause"])
def test_what_waits_ends_as_soon_as_the_run_is_stopping(
    simulator: Simulator, waits_for: str
) -> None:
    fault = (
        Fault("drop", path="/service/tickets", times=9)
        if waits_for == "a retry"
        else Fault("429", path="/service/tickets", times=9, retry_after=60)
    )
    simulator.faults.add(fault)
    stopping = Event()
    with (
        client(simulator.url, Policy(4, 60, 60, 900), stopping) as source,
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(source.get, "/service/tickets", msgspec.json.decode)
        until = time.monotonic() + 10
        while not fault.fired and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        assert not waiting.done()
        stopping.set()
        with pytest.raises(Interrupted):
            waiting.result(timeout=3)


def test_a_breaker_that_has_rested_lets_one_question_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cw_pipeline.connectwise.retry._RESTS", 0.3)
    breaker = CircuitBreaker()
    for _ in range(5):
        breaker.note_failure()
    with pytest.raises(SourceDown):
        breaker.check()
    for _ in range(2):
        time.sleep(0.35)
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(lambda _: passes(breaker), range(8))) == 1
        breaker.note_failure()
        assert not passes(breaker)
    time.sleep(0.35)
    assert passes(breaker)
    breaker.note_answer()
    assert all(passes(breaker) for _ in range(8))


def passes(breaker: CircuitBreaker) -> bool:
    try:
        breaker.check()
    except SourceDown:
        return False
    return True


def test_long_waits_of_many_questions_do_not_end_together() -> None:
    waits = [BACKGROUND.wait_before(8) for _ in range(100)]
    assert all(16 <= wait <= 48 for wait in waits)
    assert max(waits) - min(waits) > 16, "half of the wait, more or less"


@pytest.mark.parametrize(
    ("signals", "within"),
    [([signal.SIGTERM], 12), ([signal.SIGINT], 12), ([signal.SIGINT, signal.SIGINT], 4)],
    ids=["SIGTERM", "Ctrl-C", "Ctrl-C twice"],
)
def test_a_sync_of_a_silent_tenant_ends_soon_after_a_signal(
    story: Story, silent_site: str, tmp_path: Path, signals: list[signal.Signals], within: float
) -> None:
    settings = {
        "CW_SITE": silent_site,
        "CW_COMPANY": "demo",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": CLIENT_ID,
        "CW_WAREHOUSE_DSN": story.dsn,
        "DAGSTER_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "cw_pipeline", "sync", BOARDS, "service/tickets"]
    with subprocess.Popen(
        command, env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 90
        while not _runs(story) and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(1)
        started = time.monotonic()
        for each in signals:
            process.send_signal(each)
            time.sleep(0.6)
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - started < within
        assert process.returncode == 130, said
        assert "the same command goes on from there" in said.lower()


def _runs(story: Story) -> bool:
    (found,) = story.rows("select to_regclass('cw_sync.run') is not null as there")
    return bool(found["there"] and story.rows("select * from cw_sync.run"))
