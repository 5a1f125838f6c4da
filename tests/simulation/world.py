"""A tenant, its warehouse and the processes between, all in one thread on one simulated clock."""

from __future__ import annotations

import random
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row
from typing_extensions import override

from cw_pipeline import composition
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import Tenant
from cw_pipeline.simulator.state import State
from tests.chaos.world import World
from tests.simulation.clock import Clock
from tests.simulation.machine import SimulatedMachine
from tests.simulation.process import CRASH, CUT, KILL, LOSE, REFUSALS, Killed, Process
from tests.simulation.trace import Trace
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import psycopg

    from cw_pipeline.sync.context import SyncContext
    from tests.simulation.process import Driver
    from tests.simulation.server import Warehouse

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_HOUR = 3600.0


class SimulatedWorld(World):
    """One history as it happens: whatever is left to chance comes from its seed."""

    hang = 40.0

    def __init__(
        self, warehouse: Warehouse, driver: Driver, seed: int, *, keeps_trace: bool = False
    ) -> None:
        dice = random.Random(seed)  # noqa: S311
        self._chance = random.Random(f"{seed}/chance")  # noqa: S311 - of machines and networks
        self.clock = Clock(_BEGIN + timedelta(hours=dice.randrange(8000)), warehouse.face)
        self.trace = Trace(lambda: self.clock.seconds, is_kept=keeps_trace)
        machine = SimulatedMachine(self.clock, self._chance, None, timedelta())
        tenant = Tenant(machine=machine)
        simulator = State(tenant, "http://127.0.0.1:1", seed=seed, machine=machine)
        super().__init__(warehouse.dsn, simulator, None, dice)  # type: ignore[arg-type]
        self.people.odd = 0.02
        self._warehouse = warehouse
        self._wire = Wire(simulator, self.clock, self.trace, self._chance)
        self._driver = driver
        driver.clock, driver.trace, driver.dice = self.clock, self.trace, self._chance
        driver.struck = self.struck
        self._processes: list[Process] = []
        self._strikes: dict[int, str] = {}
        self._happenings: dict[int, Callable[[], None]] = {}
        self._contexts: list[SyncContext] = []
        self.worker_skew = timedelta()
        self.begun = 0
        """How many processes there were."""

    def be_about(self, names: tuple[str, ...]) -> None:
        """Has the history be about these entities alone."""
        self.names = names
        self.people.used = tuple(f"/{name}" for name in names)

    # What goes wrong.

    @override
    def fault(self) -> None:
        self.retry_after = self.dice.choice((0, 1, 30, 120))
        super().fault()

    @override
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def skew_worker(self) -> None:
        """The clock of the machine that runs the pipeline is wrong."""
        self.worker_skew = timedelta(seconds=self.dice.choice((0, 0, -30, 30, -_HOUR, _HOUR)))
        self.struck["worker's clock wrong"] += self.worker_skew != timedelta()

    @override
    def kill_worker(self) -> None:
        self._strike_next(KILL)

    @override
    def kill_postgres(self) -> None:
        self._strike_next(CRASH)

    def cut(self) -> None:
        """A session ends, before or after the server has done what it was sent."""
        self._strike_next(self.dice.choice((CUT, LOSE)))

    def refuse(self) -> None:
        """The server refuses a statement for no fault of its own."""
        self._strike_next(self.dice.choice(tuple(REFUSALS)))

    def interrupt(self) -> None:
        """Somebody ends a run."""

        def happen() -> None:
            self._contexts[-1].stopping.set()

        self._happen_next(happen, "run interrupted")

    @override
    def at_once(self) -> None:
        other = self._other_plan()
        self._happen_next(other, "two runners at once")

    def stall(self) -> None:
        """A worker stands still for so long that its leases end, while others go on."""
        seconds, other = self.dice.choice((30.0, 60.0, _HOUR)), self._other_plan()

        def happen() -> None:
            machine = self._processes[-1].machine
            machine.is_stalled = True
            self.wait(seconds)
            other()
            machine.is_stalled = False

        self._happen_next(happen, "worker that stood still")

    def _other_plan(self) -> Callable[[], None]:
        plans = (self.sync_plan, self.backfill_plan, self.reconcile_plan, self.reread_plan)
        return self.dice.choice(plans)()

    def _strike_next(self, strike: str) -> None:
        """Strikes at one of the round trips of a sync."""
        most = self.dice.choice((12, 40, 150))
        self._strikes = {self.dice.randrange(1, most): strike}
        self.dice.choice((self.sync, self.sync, self.something))()

    def _happen_next(self, happen: Callable[[], None], what: str) -> None:
        """Has something happen before one of the requests of a sync."""

        def counted() -> None:
            self.struck[what] += 1
            self.trace.add(what)
            happen()

        self._happenings = {self.dice.choice((1, 2, 3, 5, 9)): counted}
        self.dice.choice((self.sync, self.sync, self.something))()

    # What the pipeline does.

    @override
    def tolerant(self, work: Callable[[SyncContext], Iterable[Any]]) -> None:
        try:
            super().tolerant(work)
        except Killed:
            if self._processes and self._processes[-1].machine.is_off:
                raise  # it was the one that has begun this one

    @override
    def run(self, work: Callable[[SyncContext], Iterable[Any]], **options: Any) -> list[Any]:
        with self.worker(**options) as (_, context):
            return list(work(context))

    @contextmanager
    def worker(self, **options: Any) -> Iterator[tuple[Process, SyncContext]]:
        """A new process and its engine, until the block ends."""
        settings = self._settings(**options)
        with (
            self._new_process() as process,
            composition.sync_context(settings, machine=process.machine) as context,
        ):
            self._contexts.append(context)
            try:
                yield process, context
            finally:
                self._contexts.pop()

    @lru_cache(maxsize=8)  # noqa: B019 - as long as the world, and it takes a millisecond to make
    def _settings(self, **options: Any) -> Settings:
        return Settings(**{**self.options(), **options})

    @contextmanager
    def _new_process(self) -> Iterator[Process]:
        machine = SimulatedMachine(self.clock, self._chance, self._wire, self.worker_skew)
        self.begun += 1
        process = Process(f"process {self.begun}", machine)
        process.strikes, self._strikes = self._strikes, {}
        process.happenings, self._happenings = self._happenings, {}
        before = getattr(self._wire, "process", None)
        self._wire.process = process
        self._processes.append(process)
        try:
            with self._driver.acts(process):
                yield process
        finally:
            self._processes.pop()
            machine.is_off = True
            self._wire.process = before  # type: ignore[assignment]

    def vacuum(self) -> None:
        """Does what autovacuum would do: it is off, because no seed decides when it comes."""
        with self._driver.rests():
            self._warehouse.ops.execute("vacuum")

    @override
    def options(self) -> dict[str, Any]:
        realistic = {"timeout_seconds": 30, "requests_per_minute": 900}
        return {**super().options(), **realistic}

    @override
    @contextmanager
    def look(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        with self._driver.rests():
            self._warehouse.look.row_factory = dict_row  # type: ignore[assignment]
            yield self._warehouse.look  # type: ignore[misc]
