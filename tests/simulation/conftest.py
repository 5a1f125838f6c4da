"""The simulation's server, and what there was in its histories."""

from __future__ import annotations

import gc
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.connectwise import silence_stamina
from tests.chaos.world import EVERYTHING, entities
from tests.simulation.histories import Simulation
from tests.simulation.server import simulated_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

LIVED = "lived through"


@pytest.fixture(scope="session")
def simulation() -> Iterator[Simulation]:
    """What histories are lived in, one after the other."""
    silence_stamina()
    gc.freeze()  # what was imported outlives all histories: not to be looked through in each
    with (
        simulated_warehouse(entities(EVERYTHING)) as warehouse,
        Simulation.of(warehouse) as simulation,
    ):
        yield simulation


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many histories there were, and what struck in them."""
    sum_of_all = Counter[str]()
    # With the reports, because another process may have run the tests.
    for report in terminalreporter.getreports("passed"):
        for name, lived in report.user_properties:
            sum_of_all.update(lived if name == LIVED else {})
    if said := ", ".join(f"{count:,} x {what}" for what, count in sum_of_all.most_common()):
        terminalreporter.write_line(f"simulation: {said}")
