"""Day after day of a tenant's life, with refreshes by day and proof each night."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import PipelineError
from cw_pipeline.live.drain import Drain
from cw_pipeline.live.hints import Hint, put_hints
from cw_pipeline.live.worker import hinted_lists
from cw_pipeline.simulator import Fault
from cw_pipeline.sync.changes import find_changes
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.sync.reconcile import reconcile_all, reread_all
from tests.chaos.people import AGREEMENTS, TICKETS
from tests.chaos.proof import differences
from tests.chaos.truth import spoilt
from tests.chaos.world import EVERYTHING, HOUR, entities
from tests.simulation.process import CRASH, CUT, KILL, LOSE, REFUSALS, Killed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cw_pipeline.sync.context import SyncContext
    from tests.chaos.people import Key
    from tests.simulation.process import Process
    from tests.simulation.world import SimulatedWorld

NIGHTS = 7
"""In so many nights everything is read again."""

_DAY = 24 * HOUR
_RECORDS = 80
_TYPES = {TICKETS: "ticket", AGREEMENTS: "agreement"}
_STRIKES = (KILL, CRASH, CUT, LOSE, *REFUSALS)


@dataclass(frozen=True, slots=True)
class DayReport:
    """What a day left: sizes in bytes, `connections` of the pipeline that are open."""

    night: str
    ticks: int
    requests: int
    memory: int
    disk: int
    connections: int


class Soak:
    """A tenant, refreshed every `between` seconds by a worker that stays, as Dagster's does.

    Each night something happens that is no mere fault: one of `nights`, in turn.
    """

    def __init__(self, world: SimulatedWorld, between: int = HOUR) -> None:
        self.world = world
        self.between = between
        self.nights: tuple[Callable[[], None], ...] = (
            *(self.upgrade_night, self.role_loss_night, self.clock_change_night),
            *(self.outage_night, self.quiet_night),
        )
        people = world.people
        self._chances = {
            0.05: self._edit_silently,
            0.02: people.restore,
            0.01: people.spoil,
            0.1: people.mend,
            0.15: world.fault,
            0.3: world.calm,
            0.04: world.skew,
            0.08: self._strike,
        }
        """What happens in such a share of the times between two refreshes."""
        self._days = 0
        self._silent_since: dict[Key, int] = {}
        self._process: Process
        self._context: SyncContext
        self._drain: Drain
        self._hinted: list[Hint] = []
        for _ in range(_RECORDS):
            people.create()

    def live_a_day(self) -> DayReport:
        """A day and its night, at the end of which both are equal. Raises AssertionError."""
        world = self.world
        night = self.nights[self._days % len(self.nights)]
        midnight = world.clock.seconds + _DAY
        ticks = 0
        while world.clock.seconds < midnight - 4 * HOUR:
            ticks += self._work_for_hours()
        world.trace.add(f"STEP {night.__name__}")
        night()
        world.calm()
        with self._worker():
            while world.clock.seconds < midnight:
                self._tick()
                ticks += 1
        self._check_equal()
        self._days += 1
        return self._report(night.__name__, ticks)

    # A day.

    def _work_for_hours(self) -> int:
        """People work, and a worker refreshes, until it dies, or for some hours: how often."""
        world, ticks = self.world, 0
        try:
            with self._worker():
                for _ in range(int(4 * HOUR / self.between)):
                    self._live()
                    self._tick()
                    ticks += 1
        except Killed:
            pass
        world.calm()
        return ticks

    def _live(self) -> None:
        """What happens between two refreshes."""
        people, dice = self.world.people, self.world.dice
        for _ in range(dice.choice((0, 0, 1, 2, 5))):
            dice.choice((people.create, people.delete, *[people.edit] * 6))()
        for share, happen in self._chances.items():
            if dice.random() < share:
                happen()
        self._call_back()

    def _edit_silently(self) -> None:
        people = self.world.people
        people.silent.clear()
        people.edit_silently()
        self._silent_since.update(dict.fromkeys(people.silent, self._days))

    def _strike(self) -> None:
        """Something strikes the worker, or its server, soon."""
        dice, process = self.world.dice, self._process
        process.strikes[process.trips + dice.randrange(1, 80)] = dice.choice(_STRIKES)

    def _call_back(self) -> None:
        """Callbacks come for some changes, late, out of order, twice, or never."""
        dice = self.world.dice
        if (chosen := self.world.people.any_record()) and chosen[0] in _TYPES:
            action = dice.choice(("updated", "updated", "added", "deleted"))
            self._hinted.append(Hint("connectwise", _TYPES[chosen[0]], chosen[1], action))
        if dice.random() < 0.5:
            dice.shuffle(self._hinted)
            self._hinted = self._hinted[: dice.randrange(8)]
            with self.world.look() as connection:
                put_hints(connection, self._hinted)

    def _tick(self) -> None:
        """Hints are read, and what has news."""
        world, context = self.world, self._context
        begun = world.clock.seconds
        context.source.forget_failures()
        try:
            self._drain.drain()
            changes = find_changes(context, entities(EVERYTHING), 25)
            for _ in sync_entities(entities(changes.changed), context, SyncRequest()):
                pass
        except PipelineError:
            world.struck["refresh that failed"] += 1
        finally:
            context.stopping.clear()
        world.wait(max(0.0, begun + self.between - world.clock.seconds))

    # A night.

    def quiet_night(self) -> None:
        """Nothing happens but proof."""
        self._prove()

    def upgrade_night(self) -> None:
        """The vendor is at work for an hour; then the API is elsewhere, while a refresh reads."""
        simulator = self.world.simulator
        simulator.faults.add(Fault("503", "/*", rate=0.5), Fault("html", "/*", rate=0.2))
        with self._worker():
            for _ in range(int(HOUR / self.between)):
                self._tick()
            self.world.calm()
            moved = f"v2026_{self._days + 1}/"
            self._process.happenings[self._process.requests + 4] = lambda: setattr(
                simulator, "codebase", moved
            )
            self._tick()
            self._tick()
        assert simulator.codebase == moved
        self._prove()

    def role_loss_night(self) -> None:
        """The API member loses a list for the night: nothing may be deleted for that."""
        role = self.world.simulator.role
        role.forbid(f"{TICKETS}*")
        live = self._live_rows()
        with self._worker():
            self._tick()
        self._prove(succeeds=False)
        assert self._live_rows() == live, "rows were deleted for a right that was lost"
        role.allow(f"{TICKETS}*")
        with self._worker():
            self._tick()
        self._prove()

    def clock_change_night(self) -> None:
        """A server whose time zone is wrong follows daylight saving for two hours."""
        people = self.world.people
        for ahead in (self.world.dice.choice((HOUR, -HOUR)), 0):
            people.set_clock(ahead)
            self.world.simulator.clock_skew = 0
            with self._worker():
                for _ in range(int(HOUR / self.between)):
                    people.create()
                    people.edit()
                    self._tick()
        self._prove()

    def outage_night(self) -> None:
        """Nothing answers for two hours, company info neither."""
        self.world.simulator.faults.add(
            Fault("reset", "/*"), Fault("503", "/login/companyinfo/demo")
        )
        with self._worker():
            for _ in range(int(2 * HOUR / self.between)):
                self._tick()
        self.world.calm()
        self._prove()

    def _prove(self, *, succeeds: bool = True) -> None:
        """The nightly reconcile, under its guard, and the re-read of a slice."""
        world, chosen = self.world, entities(EVERYTHING)
        world.calm()
        world.simulator.clock_skew = 0
        audits = world.run(lambda context: reconcile_all(chosen, context))
        rereads = world.run(lambda context: reread_all(chosen, context, nights=NIGHTS))
        if succeeds:
            for audit in (*audits, *rereads):
                assert audit.failure is None, f"a quiet night failed: {audit.failure}"
        world.vacuum()

    def _check_equal(self) -> None:
        world = self.world
        since = self._silent_since
        excused = {key for key, day in since.items() if self._days - day < NIGHTS}
        with world.look() as connection:
            for name in EVERYTHING:
                entity = CATALOG[name]
                for key, why in differences(world, connection, entity).items():
                    record = world.simulator.tenant.records(key[0]).get(key[1])
                    is_letter = record is not None and spoilt(record)
                    assert is_letter or key in excused, f"day {self._days}: {key} {why}"
        self._silent_since = {key: day for key, day in since.items() if key in excused}

    # The machinery.

    @contextmanager
    def _worker(self) -> Iterator[None]:
        with self.world.worker() as (self._process, self._context):
            self._drain = Drain(self._context, hinted_lists(entities(EVERYTHING)))
            yield

    def _live_rows(self) -> int:
        with self.world.look() as connection:
            row = connection.execute(
                "select count(*) as n from connectwise.service_tickets where _deleted_at is null"
            ).fetchone()
        return int(row["n"]) if row else 0

    def _report(self, night: str, ticks: int) -> DayReport:
        with self.world.look() as connection:
            row = connection.execute(
                "select pg_database_size(current_database()) as disk, (select count(*)"
                " from pg_stat_activity where application_name like 'cw_pipeline%' and"
                " state <> 'idle') as busy, (select count(*) from pg_stat_activity"
                " where application_name like 'cw_pipeline%') as open"
            ).fetchone()
        assert row is not None
        assert row["busy"] == 0
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        memory = pages * os.sysconf("SC_PAGE_SIZE")
        requests = len(self.world.simulator.requests)
        self.world.simulator.requests.clear()
        return DayReport(night, ticks, requests, memory, row["disk"], row["open"])
