"""Histories by seed, as those of `tests/chaos`, in a fraction of a second each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.proof import check_always, check_when_quiet
from tests.simulation.world import SimulatedWorld

if TYPE_CHECKING:
    from tests.simulation.process import Driver
    from tests.simulation.server import Warehouse


def history(
    warehouse: Warehouse, driver: Driver, seed: int, steps: int = 20, *, keeps_trace: bool = False
) -> SimulatedWorld:
    """Lives through a history and proves its end: the world as it is then."""
    warehouse.empty()
    world = SimulatedWorld(warehouse, driver, seed, keeps_trace=keeps_trace)
    people = world.people
    for _ in range(world.dice.randrange(5, 40)):
        people.create()
    happenings = {
        people.create: 6,
        people.edit: 8,
        lambda: people.create(late=True): 2,
        lambda: people.edit(late=True): 3,
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
    for happen in world.dice.choices([*happenings], [*happenings.values()], k=steps):
        happen()
        check_always(world)
    check_when_quiet(world)
    return world
