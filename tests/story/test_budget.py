"""The tenant's request budget holds for all processes together, and the live refresh goes first."""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_left
from contextlib import contextmanager
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import msgspec

from cw_pipeline import composition
from cw_pipeline.connectwise import ConnectWise, RateLimiter
from cw_pipeline.simulator import Fault
from cw_pipeline.warehouse import RequestBudget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.settings import Settings
    from cw_pipeline.warehouse import Database
    from tests.story.conftest import Story

LIST = "/service/tickets"
ASKING = """
import sys, time
from cw_pipeline import composition
from cw_pipeline.connectwise import RateLimiter
from cw_pipeline.settings import Settings
from cw_pipeline.warehouse import RequestBudget
import msgspec
settings = Settings.read()
with composition.warehouse(settings) as store:
    budget = RequestBudget(store, settings.requests_per_minute)
    with composition.source(settings, RateLimiter(budget.grant, budget.announce_pause)) as source:
        print("up", flush=True)
        sys.stdin.readline()
        until = time.monotonic() + float(sys.argv[1])
        while time.monotonic() < until:
            source.get("/service/tickets", msgspec.json.decode)
"""


def limited(story: Story, per_minute: int) -> Settings:
    return story.settings().model_copy(update={"requests_per_minute": per_minute})


@contextmanager
def asking(store: Database, settings: Settings, *, yielding: bool = False) -> Iterator[ConnectWise]:
    """A client with a gate of its own, as another process would have."""
    budget = RequestBudget(store, settings.requests_per_minute, yielding=yielding)
    with composition.source(settings, RateLimiter(budget.grant, budget.announce_pause)) as source:
        yield source


def arrivals(story: Story) -> list[float]:
    """When each page was asked for, as it goes on."""
    seen: list[float] = []
    story.simulator.before_page(lambda *_: seen.append(time.monotonic()))
    return seen


def most_within(seconds: float, times: list[float]) -> int:
    """The most requests in any span of so many seconds."""
    return max(bisect_left(times, at + seconds) - place for place, at in enumerate(times))


def test_two_processes_together_stay_within_one_budget(story: Story) -> None:
    """600 a minute is 10 a second, and after a rest 5 seconds' worth may go at once."""
    settings = limited(story, 600)
    environment = {
        "CW_SITE": story.simulator.url,
        "CW_COMPANY": "demo",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": settings.client_id.get_secret_value() if settings.client_id else "",
        "CW_WAREHOUSE_DSN": story.dsn,
        "CW_REQUESTS_PER_MINUTE": "600",
        "PYTHONPATH": ":".join(sys.path),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", ASKING, "6"]
    both = [Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True) for _ in "12"]
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == "up\n"
    seen = arrivals(story)
    outs = [threading.Thread(target=each.communicate, args=["go\n"]) for each in both]
    for out in outs:
        out.start()
    for out in outs:
        out.join()
    assert [each.returncode for each in both] == [0, 0]
    seen.sort()
    granted = 2 * 5
    for seconds in (1, 2, 4):
        assert most_within(seconds, seen) <= 10 * (seconds + 5) + granted
    assert 10 * 6 * 0.9 <= len(seen) <= 10 * (6 + 5) + granted
    late = [at for at in seen if at > seen[0] + 3]  # the rest is used up by then
    assert most_within(1, late) <= 10 + granted + 5


def test_a_pause_that_one_process_was_told_holds_the_other_back(story: Story) -> None:
    settings = limited(story, 240)  # leave is taken for two requests at a time
    story.simulator.faults.add(Fault("429", path=LIST, times=1, retry_after=2))
    with (
        composition.warehouse(settings) as store,
        asking(store, settings) as told,
        asking(store, settings) as other,
    ):
        seen = arrivals(story)
        other.get("/system/info", msgspec.json.decode)
        began = time.monotonic()
        busy = threading.Thread(target=told.get, args=[LIST, msgspec.json.decode])
        busy.start()
        time.sleep(0.3)
        for _ in range(3):
            other.get("/company/companies", msgspec.json.decode)
        busy.join()
    assert [at - began > 2 for at in sorted(seen)[1:]].count(False) <= 2
    assert max(seen) - began > 2


def test_a_backfill_takes_leave_only_while_no_refresh_waits_for_it(story: Story) -> None:
    settings = limited(story, 1200)
    done = {"live": 0, "yielding": 0}
    stop = threading.Event()
    with (
        composition.warehouse(settings) as store,
        asking(store, settings) as live,
        asking(store, settings, yielding=True) as backfill,
    ):
        sources = {"live": live, "yielding": backfill}

        def work(name: str) -> None:
            while not stop.is_set():
                sources[name].get(LIST, msgspec.json.decode)
                done[name] += 1

        backfill.get(LIST, msgspec.json.decode)
        threads = [threading.Thread(target=work, args=[name]) for name in ("yielding", "live")]
        threads += [threading.Thread(target=work, args=["live"]) for _ in "12"]
        for thread in threads:
            thread.start()
        time.sleep(5.5)  # what both had saved up is used
        before = dict(done)
        time.sleep(2)
        stop.set()
        for thread in threads:
            thread.join()
        gained = {name: done[name] - before[name] for name in done}
        backfill.get(LIST, msgspec.json.decode)  # nobody else waits now: it gets its turn
    assert gained["live"] > 4 * gained["yielding"]


def test_budgets_of_two_tenants_in_one_warehouse_are_apart(story: Story) -> None:
    settings = limited(story, 60)
    other = settings.model_copy(update={"schema_": "second"})
    with composition.warehouse(settings) as one, composition.warehouse(other) as two:
        first, second = RequestBudget(one, 60), RequestBudget(two, 60)
        waits = [first.grant().wait for _ in range(8)]
        assert waits == sorted(waits)
        assert waits[-1] > 0
        assert second.grant().wait == 0
