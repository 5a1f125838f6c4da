"""A tenant and its warehouse, and everything that may happen to them.

Every choice comes from one pair of dice, so that a seed is a history.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import PipelineError, WarehouseError
from cw_pipeline.live.drain import Drain
from cw_pipeline.live.hints import Hint, put_hints
from cw_pipeline.live.worker import hinted_lists
from cw_pipeline.model import Window
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import CLIENT_ID, Fault
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.sync.reconcile import reconcile_all, reread_all
from cw_pipeline.sync.replay import replay
from tests.chaos.doomed import connection, sync_and_die
from tests.chaos.people import LATEST, People

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from cw_pipeline.dev import EmbeddedPostgres
    from cw_pipeline.model import Entity
    from cw_pipeline.simulator import Simulator
    from cw_pipeline.sync.context import SyncContext

TICKETS = "service/tickets"
AGREEMENTS = "finance/agreements"
ADDITIONS = "finance/agreements/additions"
CODES = "service/codes"  # its records carry no stamp, so it is read whole
EVERYTHING = (TICKETS, AGREEMENTS, ADDITIONS, CODES)
_CHOICES = ((TICKETS,), (TICKETS,), (AGREEMENTS, ADDITIONS), (CODES,), EVERYTHING)
OVERLAP = 900  # more than a late commit, and a clock that turns from one side to the other
HOUR = 3600

_PASSING = ("429", "500", "503", "timeout500", "reset", "drop", "truncated", "html", "hang")
_PLACES = ("/*", "/service/tickets", "/finance/*", "/service/codes")


class World:
    """One history as it happens. `ground` is the warehouse's own server, which may be killed.

    `names` are the entities that it is about.
    """

    names = EVERYTHING

    def __init__(
        self, dsn: str, simulator: Simulator, ground: EmbeddedPostgres, dice: random.Random
    ) -> None:
        self.dsn = dsn
        self.simulator = simulator
        self.ground = ground
        self.dice = dice
        self.people = People(simulator.tenant, dice)
        self.passed = timedelta()  # of simulated time
        self.struck: Counter[str] = Counter()
        self.locked: set[str] = set()

    hang, retry_after = 0.4, 0
    """Seconds that an answer hangs, more than anybody waits, and that a 429 asks for."""

    # What goes wrong.

    def fault(self) -> None:
        """Something goes wrong for a while."""
        dice, path = self.dice, self.dice.choice(_PLACES)
        kind: Any = dice.choice((*_PASSING, "poison", "wrong_type"))
        if kind == "poison":
            fault = Fault(kind, path, ids=self.people.some_ids(3), spares=dice.random() < 0.5)
        elif kind == "wrong_type":
            fault = Fault(kind, path, ids=self.people.some_ids(3), field="_info")
        else:
            times = dice.choice((1, 2)) if kind == "hang" else dice.choice((1, 2, 5, 20))
            rate = dice.choice((None, 0.3, 0.7))
            long = {"seconds": self.hang, "retry_after": self.retry_after}
            fault = Fault(kind, path, rate=rate, times=times, **long)
        self.simulator.faults.add(fault)

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        for fault in self.simulator.faults.all:
            self.struck[fault.kind] += fault.fired
        self.simulator.faults.clear()

    def pass_time(self) -> None:
        """Time goes by."""
        self.wait(self.dice.choice((1, 30, 300, 3600)))

    def wait(self, seconds: float) -> None:
        """Time goes by, on every clock."""
        self.simulator.tenant.advance(seconds)
        self.passed += timedelta(seconds=seconds)

    def skew(self) -> None:
        """The `Date` of answers is wrong: a little, by whole hours, by turns, or not there.

        Stamps are right. Not while they are behind: `Date` alone tells that they are.
        """
        by_turns = ((0, 240, -120), (0, HOUR), (None,), (0, None))
        chosen = self.dice.choice((0, -LATEST, -60, 60, LATEST, -HOUR, HOUR, *by_turns))
        self.simulator.clock_skew = chosen if self.people.ahead >= timedelta() else 0
        self.struck["wrong Date"] += chosen != 0

    def set_source_clock(self) -> None:
        """The source's clock is set, and with it `Date` and stamps."""
        ahead = self.dice.choice((-HOUR, -LATEST, 0, LATEST, HOUR))
        self.people.set_clock(ahead)
        if ahead < 0:
            self.simulator.clock_skew = 0
        self.struck["source's clock set"] += 1

    def live_on(self) -> None:
        """People work while the next pages are made: between them, and before they are read."""
        left = [self.dice.choice((1, 2, 3)), self.dice.choice((1, 4))]
        people = self.people

        def work(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0 < left[1]:
                left[1] -= 1
                people.dice.choice((people.create, people.edit, people.delete))()

        self.simulator.before_page(work)
        self.sync()
        self.simulator._page_watchers.clear()

    def kill_postgres(self) -> None:
        """The warehouse dies while a sync writes to it, and is started again."""
        syncing = threading.Thread(target=self.sync_plan())
        syncing.start()
        time.sleep(self.dice.random() * 0.3)
        kill_server(self.ground)
        syncing.join()
        self.struck["kill -9 of Postgres"] += 1

    def kill_worker(self) -> None:
        """A worker dies before its n-th statement."""
        statement = self.dice.choice((self.dice.randrange(1, 60), self.dice.randrange(1, 400)))
        code = sync_and_die(self.options(), self._some_entities(), statement, self.passed)
        self.struck["kill -9 of the worker"] += code == -signal.SIGKILL

    # What the pipeline does. A plan has taken all its chances: it may run in another thread.

    def sync(self) -> None:
        """A refresh."""
        self.sync_plan()()

    def sync_plan(self) -> Callable[[], None]:
        """A refresh of some entities; now and then everything is read again."""
        names, plan = self._some_entities(), SyncRequest(full=self.dice.random() < 0.1)
        return lambda: self.tolerant(lambda engine: sync_entities(entities(names), engine, plan))

    def backfill_plan(self) -> Callable[[], None]:
        """A window of the past is read again."""
        now, names = self.simulator.tenant.now(), self._some_entities()
        since = now - timedelta(seconds=self.dice.choice((600, 7200, 86400)))
        plan = SyncRequest(window=Window(since, now), closed=self.dice.random() < 0.5)
        return lambda: self.tolerant(lambda engine: sync_entities(entities(names), engine, plan))

    def reconcile_plan(self) -> Callable[[], None]:
        """A reconcile under guard."""
        names = self._some_entities()
        return lambda: self.tolerant(lambda engine: reconcile_all(entities(names), engine))

    def reread_plan(self) -> Callable[[], None]:
        """A night's slice is read again."""
        names = self._some_entities()
        return lambda: self.tolerant(lambda engine: reread_all(entities(names), engine, nights=3))

    def replay_plan(self) -> Callable[[], None]:
        """The open dead letters are tried again."""
        return lambda: self.tolerant(lambda engine: replay(engine, None))

    def take_hints(self, action: str, ahead: float | None) -> None:
        """Callbacks name records, changed or not, with a stamp that is right or not."""
        now, ids = self.simulator.tenant.now(), self.people.some_ids(4)
        stamp = None if ahead is None else now + timedelta(seconds=ahead)
        with psycopg.connect(self.dsn) as connection:
            for name in ("ticket", "agreement"):
                put_hints(
                    connection, [Hint("connectwise", name, each, action, stamp) for each in ids]
                )
        lists = hinted_lists(entities((TICKETS, AGREEMENTS)))
        self.tolerant(lambda engine: Drain(engine, lists).drain().changed)
        self.struck["hints"] += 1

    def something(self) -> None:
        """A backfill, a reconcile, a re-read or a replay."""
        plans = (self.backfill_plan, self.reconcile_plan, self.reread_plan, self.replay_plan)
        self.dice.choice(plans)()()

    def at_once(self) -> None:
        """Two runners at once, of the same kind or not."""
        refresh = self.sync_plan
        others = (refresh, self.backfill_plan, self.reconcile_plan, self.reread_plan)
        pair = [threading.Thread(target=make()) for make in (refresh, self.dice.choice(others))]
        for runner in pair:
            runner.start()
        for runner in pair:
            runner.join()
        self.struck["two runners at once"] += 1

    def tolerant(self, work: Callable[[SyncContext], Iterable[Any]]) -> None:
        """Does the work; it may fail, by an error that has a name."""
        try:
            self.run(work)
        except PipelineError:
            self.struck["run that failed"] += 1

    def run(self, work: Callable[[SyncContext], Iterable[Any]], **options: Any) -> list[Any]:
        """What the work gives, with an engine of its own, as a new process would have."""
        with connection(Settings(**{**self.options(), **options}), self.passed) as engine:
            return list(work(engine))

    def options(self) -> dict[str, Any]:
        """The settings, by name: small pages, little patience."""
        return {
            "site": self.simulator.url,
            "company": "demo",
            "public_key": "public",
            "private_key": "private",
            "client_id": CLIENT_ID,
            "warehouse_dsn": self.dsn,
            "requests_per_minute": 1_000_000,
            "timeout_seconds": 0.3,
            "page_size": 4,
            "max_concurrency": 4,
            "overlap_seconds": OVERLAP,
            "min_rejects": 1000,
            "max_delete_fraction": 0.3,
        }

    def look(self) -> AbstractContextManager[psycopg.Connection[dict[str, Any]]]:
        """A connection of the tests' own to the warehouse, for a look; rows as dictionaries."""
        return psycopg.connect(self.dsn, row_factory=dict_row)

    def _some_entities(self) -> Sequence[str]:
        choices = [names for names in _CHOICES if {*names} <= {*self.names}]
        return self.dice.choice(choices)


def entities(names: Iterable[str]) -> list[Entity]:
    """The entities of these names."""
    return [CATALOG[name] for name in names]


def kill_server(ground: EmbeddedPostgres) -> None:
    """`kill -9` of the server, which is then started again."""
    pid = int((Path(ground.home) / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        try:
            ground.ensure()
        except WarehouseError:  # its orphans still hold its memory
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
