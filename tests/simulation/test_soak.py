"""Days of a tenant's life: `--soak-days 30` for a month, with a refresh each hour."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.chaos.world import HOUR
from tests.simulation.conftest import LIVED
from tests.simulation.soak import Soak

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.histories import Simulation

_SHORT = 3  # days: enough for a test of each kind of night is more than this


@pytest.mark.timeout(0)  # as long as so many days take
def test_each_day_ends_equal_and_nothing_grows(
    simulation: Simulation,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    caplog.set_level(logging.CRITICAL)  # what is kept of the log would be the only thing that grows
    days: int = request.config.getoption("--soak-days")
    seed: int = request.config.getoption("--first-seed")
    world = simulation.new_world(seed)
    soak = Soak(world, between=HOUR if days > _SHORT else 2 * HOUR)
    reports = []
    for day in range(days):
        reports.append(soak.live_a_day())
        print(f"day {day + 1}: {reports[-1]}")  # noqa: T201 - with -s, for who waits
    early, late = reports[min(len(reports) - 1, len(soak.nights))], reports[-1]
    assert late.memory < early.memory + 30 * 2**20
    assert late.disk < 1.5 * early.disk
    assert late.connections <= early.connections + 4
    ticks = sum(report.ticks for report in reports)
    sums = {"refreshes": ticks, "statements and requests": world.trace.count}
    record_property(LIVED, {"days": days, **sums, **world.struck})
