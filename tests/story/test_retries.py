"""What is asked again and what never is, how patiently, and who waits when ConnectWise says so."""

from __future__ import annotations

import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import BACKGROUND, INTERACTIVE, ConnectWise, Credentials, Policy, Site
from cw_pipeline.connectwise.retry import RetryBudget
from cw_pipeline.errors import (
    SourceBroken,
    SourceBusy,
    SourceDenied,
    SourceDown,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)
from cw_pipeline.simulator import CLIENT_ID, Fault
from cw_pipeline.simulator.answers import JSON, Answer
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.transform import decode_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Simulator, Tenant
    from tests.story.conftest import Story

LIST = "/service/tickets"
ADDRESS = f"/v2025_1/apis/3.0{LIST}"
QUICK = Policy(attempts=4, wait_initial=0.01, wait_max=0.02, patience=60)


@pytest.fixture
def source(simulator: Simulator) -> Iterator[ConnectWise]:
    """A client with four quick tries."""
    with asking(simulator, timeout=30) as source:
        yield source


def asking(simulator: Simulator, timeout: float) -> ConnectWise:
    """A client that waits so many seconds for an answer."""
    keys = Credentials("demo", "public", "private", CLIENT_ID)
    return ConnectWise(Site.of(simulator.url), keys, policy=QUICK, timeout=timeout)


def ask(source: ConnectWise, **options: Any) -> Any:
    return source.get(LIST, msgspec.json.decode, **options)


def answering(simulator: Simulator, answer: Answer) -> list[float]:
    """Makes the list answer just this; when it did so, as it goes on."""
    at: list[float] = []

    def note_time_and_answer() -> Answer:
        at.append(time.monotonic())
        return answer

    simulator.own_routes["GET", ADDRESS] = note_time_and_answer
    return at


@pytest.mark.parametrize(
    ("status", "error", "tries"),
    [
        (301, SourceRefused, 1),
        (400, SourceRefused, 1),
        (401, SourceDenied, 1),
        (403, SourceForbidden, 1),
        (404, SourceMissing, 1),
        (405, SourceRefused, 1),
        (408, SourceBroken, 4),
        (409, SourceRefused, 1),
        (414, SourceRefused, 1),
        (415, SourceRefused, 1),
        (500, SourceBroken, 4),
        (502, SourceBroken, 4),
        (503, SourceBroken, 4),
        (504, SourceBroken, 4),
    ],
)
def test_each_status_is_asked_again_or_never(
    simulator: Simulator, source: ConnectWise, status: int, error: Any, tries: int
) -> None:
    asked = answering(simulator, Answer(status, b'{"code":"X","message":"as said"}'))
    with pytest.raises(error, match="as said") as raised:
        ask(source)
    assert raised.value.status == status
    assert len(asked) == tries
    assert source.tally.retries == tries - 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html>sign in</html>", "text/html"), (b'[{"id":1},', JSON), (b"", JSON)],
    ids=["html", "truncated", "empty"],
)
def test_a_body_that_is_not_the_json_due_is_asked_for_again(
    simulator: Simulator, source: ConnectWise, body: bytes, kind: str
) -> None:
    asked = answering(simulator, Answer(200, body, kind))
    with pytest.raises(SourceBroken):
        ask(source)
    assert len(asked) == 4


@pytest.mark.parametrize("kind", ["reset", "drop", "hang"])
def test_a_connection_that_breaks_or_goes_silent_is_tried_again(
    simulator: Simulator, kind: Any
) -> None:
    fault = Fault(kind, path=LIST, times=2, seconds=1.5)
    simulator.faults.add(fault)
    with asking(simulator, timeout=1) as source:
        assert ask(source) == []
        assert (fault.fired, source.tally.retries) == (2, 2)


def test_a_connection_refused_says_what_to_check(source: ConnectWise, simulator: Simulator) -> None:
    ask(source)
    simulator.__exit__()
    with pytest.raises(SourceDown, match="CW_SITE"):
        ask(source)


def test_waits_grow_and_are_jittered(simulator: Simulator, source: ConnectWise) -> None:
    asked = answering(simulator, Answer(500))
    with pytest.raises(SourceBroken):
        ask(source, policy=Policy(attempts=4, wait_initial=0.1, wait_max=9, patience=1))
    waits = [after - before for before, after in itertools.pairwise(asked)]
    assert all(wait >= usual / 2 for wait, usual in zip(waits, (0.1, 0.2, 0.4), strict=True))


def test_what_is_asked_again_is_said_in_a_sentence(
    simulator: Simulator, source: ConnectWise, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.faults.add(Fault("503", LIST, times=1), Fault("429", LIST, times=1, retry_after=0))
    ask(source)
    again, pause = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"asked again in 0\.\d s, try 2 of 4: GET /service/tickets: 503.*", again)
    assert re.fullmatch(r"ConnectWise asks for a pause of 0 s: GET /service/tickets: 429.*", pause)


def test_the_policies_are_the_guides() -> None:
    """Background: 5-10 tries from 200-500 ms, cap 30-60 s; interactive: 2-3, 50-100 ms, 2-5 s."""
    assert 5 <= BACKGROUND.attempts <= 10
    assert 0.2 <= BACKGROUND.wait_initial <= 0.5
    assert 30 <= BACKGROUND.wait_max <= 60
    assert 2 <= INTERACTIVE.attempts <= 3
    assert 0.05 <= INTERACTIVE.wait_initial <= 0.1
    assert 2 <= INTERACTIVE.wait_max <= 5


def test_an_interactive_command_gives_up_within_seconds(
    simulator: Simulator, source: ConnectWise
) -> None:
    asked = answering(simulator, Answer(500))
    began = time.monotonic()
    with pytest.raises(SourceBroken):
        ask(source, policy=INTERACTIVE)
    assert len(asked) == 3
    assert time.monotonic() - began < 10


def busy(retry_after: str) -> Answer:
    return Answer(429, b'{"error":"ConnectWiseAPI"}', headers={"Retry-After": retry_after})


def test_retry_after_is_obeyed_to_the_second_and_holds_every_thread_back(
    simulator: Simulator, source: ConnectWise, tenant: Tenant
) -> None:
    tenant.put(LIST, {"id": 1})
    ask(source)
    seen: list[float] = []
    simulator.before_page(lambda *_: seen.append(time.monotonic()))
    simulator.faults.add(Fault("429", path=LIST, times=1, retry_after=1))
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, source)
        time.sleep(0.2)  # the others come after the 429
        others = [pool.submit(source.get, "/company/companies", msgspec.json.decode)] * 3
        for running in (first, *others):
            running.result()
    assert all(at - began >= 1 for at in seen[1:])
    assert max(seen) - began < 5


def test_retry_after_may_be_a_date(
    simulator: Simulator, source: ConnectWise, tenant: Tenant
) -> None:
    ask(source)
    tenant.advance(86400)  # a date on the server's clock: ours does not matter
    asked = answering(simulator, busy("0"))

    def once() -> Answer:
        asked.append(time.monotonic())
        if len(asked) > 1:
            return Answer(200, b"[]")
        return busy(format_datetime(tenant.now() + timedelta(seconds=2), usegmt=True))

    simulator.own_routes["GET", ADDRESS] = once
    ask(source)
    assert 1 <= asked[1] - asked[0] < 10


def test_a_server_that_stays_busy_is_given_up_when_patience_ends(
    simulator: Simulator, source: ConnectWise
) -> None:
    asked = answering(simulator, busy("1000"))
    with pytest.raises(SourceBusy):
        ask(source)
    assert len(asked) == 1


def test_a_pause_takes_nothing_of_the_time_for_failed_answers(
    simulator: Simulator, source: ConnectWise
) -> None:
    simulator.faults.add(Fault("429", path=LIST, times=1, retry_after=1))
    simulator.faults.add(Fault("503", path=LIST, times=1))
    assert ask(source, policy=replace(QUICK, whole=0.8)) == []
    assert source.tally.retries == 2


def test_429s_do_not_use_up_the_tries_for_other_errors(
    simulator: Simulator, source: ConnectWise
) -> None:
    simulator.faults.add(Fault("429", path=LIST, times=4, retry_after=0))
    simulator.faults.add(Fault("500", path=LIST, times=3))
    assert ask(source) == []


def test_a_run_has_a_budget_of_retries_so_that_a_bad_day_ends(
    simulator: Simulator, source: ConnectWise
) -> None:
    source._retry_budget = RetryBudget(left=2, share=0)
    asked = answering(simulator, Answer(500))
    for _ in range(3):
        with pytest.raises(SourceBroken):
            ask(source)
    assert len(asked) == 3 + 2


def test_a_tenant_that_fails_five_questions_in_a_row_is_left_alone(
    simulator: Simulator, source: ConnectWise
) -> None:
    asked = answering(simulator, Answer(500))
    for _ in range(5):
        with pytest.raises(SourceBroken):
            ask(source)
    with pytest.raises(SourceDown, match="left alone"):
        ask(source)
    assert len(asked) == 5 * 4
    source._breaker._open_until = 0.0  # it has rested
    simulator.own_routes.clear()
    assert ask(source) == []


def test_one_good_answer_in_between_keeps_the_breaker_closed(
    simulator: Simulator, source: ConnectWise
) -> None:
    asked = answering(simulator, Answer(500))
    for _ in range(7):
        with pytest.raises(SourceBroken):
            ask(source)
        source.get("/system/info", msgspec.json.decode)
    assert len(asked) == 7 * 4


def test_a_404_asks_once_where_the_codebase_moved_to(
    simulator: Simulator, source: ConnectWise, tenant: Tenant
) -> None:
    tenant.put(LIST, {"id": 1})
    ask(source)
    simulator.codebase = "v2025_2/"
    source._base_at -= 3600  # asked for an hour ago
    simulator.requests.clear()
    assert [record["id"] for record in ask(source)] == [1]
    assert simulator.count_by_path()["/login/companyinfo/demo"] == 1


def test_a_401_stops_the_whole_run_at_once_and_names_the_settings(story: Story) -> None:
    names = ("service/tickets", "company/companies", "service/boards")
    story.simulator.keys.private = "rotated"
    with story.engine(entities=",".join(names)) as engine:
        reports = sync_entities([CATALOG[name] for name in names], engine, SyncRequest())
        with pytest.raises(SourceDenied, match="CW_PRIVATE_KEY"):
            list(reports)
    assert len([s for s in story.simulator.requests if s.status == 401]) <= len(names)


def test_a_403_fails_its_entity_and_the_others_go_on(story: Story, tenant: Tenant) -> None:
    tenant.put(LIST, {"id": 1})
    tenant.put("/company/companies", {"id": 2})
    story.simulator.role.forbid(LIST)
    reports = story.sync("service/tickets", "company/companies")
    assert isinstance(reports["service/tickets"].failure, SourceForbidden)
    assert reports["company/companies"].failure is None
    assert set(story.table("company/companies")) == {2}
    (seen,) = story.rows("select * from cw_sync.capability where entity = 'service/tickets'")
    assert seen["readable"] is False


def test_a_list_that_answers_404_is_never_taken_for_empty(story: Story, tenant: Tenant) -> None:
    tenant.put(LIST, {"id": 1})
    story.one("service/tickets")
    before = story.checkpoint("service/tickets")["watermark"]
    tenant.advance(3600)
    story.simulator.own_routes["GET", ADDRESS] = lambda: Answer(404, b'{"code":"ConnectWiseApi"}')
    assert isinstance(story.sync("service/tickets")["service/tickets"].failure, SourceMissing)
    assert set(story.table("service/tickets")) == {1}
    assert story.checkpoint("service/tickets")["watermark"] == before


def test_a_page_amid_blanks_is_a_page(story: Story) -> None:
    pages = [b'[{"id": 1, "summary": "one"}]']

    def padded() -> Answer:
        return Answer(200, b" " * 500 + (pages.pop() if pages else b"[]") + b"\n" * 500)

    story.simulator.own_routes["GET", ADDRESS] = padded
    report = story.sync("service/tickets")["service/tickets"]
    assert (report.failure, report.retries) == (None, 0)
    assert set(story.table("service/tickets")) == {1}


def test_a_page_of_ids_never_passes_for_empty_when_it_is_no_list(
    simulator: Simulator, source: ConnectWise
) -> None:
    asked = answering(simulator, Answer(200, b'{"message":"please wait"}'))
    with pytest.raises(SourceBroken, match="expected ids"):
        source.get(LIST, decode_ids)
    assert len(asked) == 4
