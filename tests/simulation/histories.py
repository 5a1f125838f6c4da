"""Histories by seed, as those of `tests/chaos`, in a fraction of their time."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.chaos.proof import check_always, check_when_quiet
from tests.chaos.world import ADDITIONS, AGREEMENTS, CODES, EVERYTHING, TICKETS
from tests.simulation.process import Driver
from tests.simulation.world import SimulatedWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.simulation.server import Warehouse

_STEPS = 20
_BELOW = (AGREEMENTS, ADDITIONS)
_ABOUT = ((TICKETS,), (TICKETS,), (TICKETS,), _BELOW, _BELOW, (CODES,), EVERYTHING)
"""What a history is about, each as often as the others: most need no more than one list."""

_SHOWN = 25  # lines of a trace


@dataclass(frozen=True)
class Simulation:
    """A warehouse, and the driver through which simulated processes reach it."""

    warehouse: Warehouse
    driver: Driver

    @classmethod
    @contextmanager
    def of(cls, warehouse: Warehouse) -> Iterator[Self]:
        """In the block, all that this process does in Postgres goes through the simulation."""
        driver = Driver(warehouse.ops)
        with driver.installed():
            yield cls(warehouse, driver)

    def new_world(self, seed: int, *, keeps_trace: bool = False) -> SimulatedWorld:
        """An empty tenant and an empty warehouse."""
        self.warehouse.empty()
        return SimulatedWorld(self.warehouse, self.driver, seed, keeps_trace=keeps_trace)

    def live(self, seed: int, folder: Path) -> SimulatedWorld:
        """Lives through the history of this seed and proves its end: the world as it is then.

        Where it does not hold, the history is lived again, and its trace written to `folder`.
        """
        world = self.new_world(seed)
        try:
            live(world)
        except Exception as error:
            error.add_note(self._explain(seed, world.trace.digest, folder / f"{seed}.trace"))
            raise
        return world

    def _explain(self, seed: int, digest: str, path: Path) -> str:
        world = self.new_world(seed, keeps_trace=True)
        outcome = "it passed this time, so something is not simulated"
        try:
            live(world)
        except Exception as error:  # noqa: BLE001 - it is the one that is explained
            same = "the same" if world.trace.digest == digest else "another"
            outcome = f"it ended so by {same} way: {type(error).__name__}"
        path.write_text("\n".join(world.trace.lines))
        last = "\n".join(line[:200] for line in world.trace.lines[-_SHOWN:])
        return (
            f"Lived again by: python3 -m cw_pipeline test tests/simulation --simulations 1"
            f" --first-seed {seed}\nThere {outcome}. Every request and statement: {path}\n{last}"
        )


def live(world: SimulatedWorld, steps: int = _STEPS) -> None:
    """Lives through a history and proves its end."""
    people, dice = world.people, world.dice
    world.be_about(dice.choice(_ABOUT))
    for _ in range(dice.randrange(3, 25)):
        people.create()

    def create_late() -> None:
        people.create(late=True)

    def edit_late() -> None:
        people.edit(late=True)

    happenings = {
        people.create: 6,
        people.edit: 8,
        create_late: 2,
        edit_late: 3,
        people.edit_silently: 2,
        people.delete: 3,
        people.restore: 1,
        people.spoil: 2,
        world.pass_time: 5,
        world.skew: 3,
        world.skew_worker: 1,
        world.set_source_clock: 2,
        world.fault: 7,
        world.calm: 3,
        world.sync: 7,
        world.live_on: 3,
        world.something: 3,
        world.at_once: 3,
        world.stall: 2,
        world.interrupt: 2,
        world.kill_worker: 4,
        world.kill_postgres: 2,
        world.cut: 3,
        world.refuse: 3,
    }
    for happen in dice.choices([*happenings], [*happenings.values()], k=steps):
        begun = world.begun
        world.trace.add(f"STEP {happen.__name__}")
        happen()
        if world.begun > begun:  # else nothing was read or written
            check_always(world)
    world.trace.add("STEP check_when_quiet")
    check_when_quiet(world)
