"""A client for the simulator, as a developer would write one in five lines."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from cw_pipeline.simulator import CLIENT_ID, Simulator, Tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPT = "application/vnd.connectwise.com+json; version=2025.1"
FORWARD = {"pagination-type": "forward-only"}


@contextmanager
def serving(tenant: Tenant, **options: Any) -> Iterator[tuple[Simulator, httpx.Client]]:
    """A running simulator and a client that holds its keys."""
    with Simulator(tenant, **options) as sim, client(sim) as http:
        yield sim, http


@contextmanager
def client(sim: Simulator, **changes: Any) -> Iterator[httpx.Client]:
    """A client with the right keys; `changes` replaces any of the client's arguments."""
    given: dict[str, Any] = {
        "base_url": f"{sim.url}/v2025_1/apis/3.0",
        "auth": ("demo+public", "private"),
        "headers": {"clientId": CLIENT_ID, "Accept": ACCEPT},
        "timeout": 10,
    }
    with httpx.Client(**{**given, **changes}) as http:
        yield http


def tickets(count: int = 10) -> Tenant:
    """A tenant with tickets 1, 2, … on boards 0, 1 and 2."""
    tenant = Tenant()
    for at in range(1, count + 1):
        record = {"id": at, "summary": f"Ticket {at}", "board": {"id": at % 3, "name": "B"}}
        tenant.put("/service/tickets", record)
    return tenant


def ids(answer: httpx.Response) -> list[int]:
    """The ids of a page. Fails unless the answer is a 200."""
    assert answer.status_code == 200, answer.text
    return [record["id"] for record in answer.json()]
