"""One history after another in one process: `--simulations 10000` for a long run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.conftest import LIVED
from tests.simulation.histories import live

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.simulation.histories import Simulation


def test_after_any_simulated_history_a_quiet_pass_and_a_reconcile_leave_no_difference(
    simulation: Simulation,
    simulation_seed: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    world = simulation.live(simulation_seed, tmp_path)
    sums = {"statements and requests": world.trace.count, "processes": world.begun}
    record_property(LIVED, {"histories": 1, **sums, **world.struck})


def test_a_seed_gives_the_same_history_to_the_statement(simulation: Simulation) -> None:
    traces = []
    for _ in range(2):
        world = simulation.new_world(7, keeps_trace=True)
        live(world)
        traces.append(world.trace)
    first, second = traces
    assert first.lines == second.lines
    assert first.digest == second.digest
    assert len(first.lines) > 500
