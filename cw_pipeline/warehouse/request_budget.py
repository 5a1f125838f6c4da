"""The tenant's request budget, shared by all of its processes through the warehouse."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

from cw_pipeline.errors import Interrupted
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.model import RequestGrant

if TYPE_CHECKING:
    from cw_pipeline.warehouse.database import Database

_BURST = 5.0  # seconds' worth that may go at once after a rest: 900 + 75 a minute stays below 1,000
_GRANTED = 0.5  # seconds' worth taken at a time: a pause reaches other processes within that
_POLL = 0.1

_TAKE = """
insert into cw_sync.request_budget as budget (tenant, next_free)
values (%(tenant)s, clock_timestamp() + %(span)s::interval)
on conflict (tenant) do update
   set next_free = %(span)s::interval
                 + greatest(budget.next_free, clock_timestamp() - %(burst)s::interval)
 where not %(yielding)s or budget.next_free <= clock_timestamp()
returning extract(epoch from next_free - %(span)s::interval - clock_timestamp()),
          extract(epoch from paused_until) - extract(epoch from clock_timestamp()),
          clock_timestamp()
"""


class RequestBudget:
    """Leave to send requests, `per_minute` for the whole tenant.

    A `yielding` process (a backfill) takes leave only while nobody else is waiting for it, so the
    live refresh goes first. Waiting ends with Interrupted when `stopping` is set.
    """

    def __init__(
        self,
        database: Database,
        per_minute: int,
        *,
        yielding: bool = False,
        stopping: Event | None = None,
        machine: Machine = THIS,
    ) -> None:
        self._machine = machine
        self._database = database
        self._stopping = stopping or Event()
        self._requests = max(1, int(per_minute * _GRANTED / 60))
        self._asked = {
            "tenant": database.schema,
            "span": f"{self._requests * 60 / per_minute} seconds",
            "burst": f"{_BURST} seconds",
            "yielding": yielding,
        }

    def grant(self) -> RequestGrant:
        """Leave for the next few requests; a yielding process waits here for its turn."""
        while True:
            with self._database.connection() as connection:
                taken = connection.execute(_TAKE, self._asked).fetchone()
            if taken is not None:
                *waits, at = taken
                return RequestGrant(self._requests, max(0.0, *map(float, waits)), at)
            if self._machine.wait(self._stopping, _POLL):
                raise Interrupted("interrupted")

    def announce_pause(self, seconds: float) -> None:
        """Tells every process of the tenant that ConnectWise asked for a pause."""
        with self._database.connection() as connection:
            connection.execute(
                "update cw_sync.request_budget set paused_until ="
                " greatest(paused_until, clock_timestamp() + make_interval(secs => %s))"
                " where tenant = %s",
                [seconds, self._asked["tenant"]],
            )
