"""How many requests may be in flight: grows while that helps, backs off when it hurts."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, Event, Lock
from typing import TYPE_CHECKING

from cw_pipeline.connectwise.retry import wait_interruptibly
from cw_pipeline.errors import Interrupted
from cw_pipeline.machine import THIS, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from datetime import timedelta

    from cw_pipeline.model import RequestGrant


@dataclass(slots=True, eq=False)
class RateLimiter:
    """Lets requests through one by one, no faster than the tenant's budget allows.

    `grant` asks for leave on behalf of all processes of the tenant; `announce` tells them of a
    pause, in seconds, that ConnectWise asked for. Without them only pauses are kept. Waiting ends
    with Interrupted when `stopping` is set. `warehouse_ahead`: by how much the clock of who grants
    it, the warehouse, is ahead of this machine's; None before it has said.
    """

    grant: Callable[[], RequestGrant] | None = None
    announce: Callable[[float], None] | None = None
    stopping: Event = field(default_factory=Event)
    machine: Machine = THIS
    warehouse_ahead: timedelta | None = None
    _lock: Lock = field(default_factory=Lock)
    _left: int = 0
    _open_at: float = 0.0

    def wait_for_turn(self) -> float:
        """Returns when a request may be sent: the seconds it had to wait."""
        started = self.machine.monotonic()
        with self._lock:
            if self.grant is not None and self._left == 0:
                granted = self.grant()
                if granted.at is not None:
                    self.warehouse_ahead = granted.at - self.machine.now()
                self._left = granted.requests
                self._open_at = max(self._open_at, self.machine.monotonic() + granted.wait)
            self._left -= 1
        while (closed := self._open_at - self.machine.monotonic()) > 0:
            wait_interruptibly(
                self.stopping, closed, self.machine
            )  # a pause may be lengthened while we wait
        return self.machine.monotonic() - started

    def pause(self, seconds: float) -> None:
        """Keeps every request of the tenant back for so long."""
        with self._lock:
            self._open_at = max(self._open_at, self.machine.monotonic() + seconds)
            self._left = 0  # leave that was granted before is used up, or others would be outrun
        if self.announce is not None:
            self.announce(seconds)


_SLOW = 3.0  # times the best time of its like: more in flight only queue up behind each other
_GLANCE = 0.5  # seconds between looks whether the run is to end
_CALM = 5.0  # seconds after backing off before the limit may fall again: one storm is one reason


class ConcurrencyLimit:
    """A limit on requests in flight, between 1 and `most`, that finds its own level.

    Each answered request raises it by a fraction; a 429 halves it, and times that say the server
    only queues lower it. Additive up, multiplicative down: sharing processes level out.
    """

    def __init__(self, most: int, machine: Machine = THIS) -> None:
        self._most = most
        self._machine = machine
        self._limit = max(1.0, most / 2)
        self._flying = 0
        self._best: dict[Hashable, float] = {}
        self._backed_off = 0.0
        self._changed = Condition()

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @contextmanager
    def slot(self, stopping: Event | None = None) -> Iterator[None]:
        """Room for one request, as long as the block takes. Raises Interrupted on `stopping`."""
        with self._changed:
            while not self._changed.wait_for(lambda: self._flying < int(self._limit), _GLANCE):
                if stopping is not None and stopping.is_set():
                    raise Interrupted("interrupted")
            self._flying += 1
        try:
            yield
        finally:
            with self._changed:
                self._flying -= 1
                self._changed.notify()

    def note_answer(self, seconds: float, like: Hashable) -> None:
        """Notes a good answer and how long it took.

        It is compared with those of its like only: a count is no measure for a page.
        """
        with self._changed:
            best = min(self._best.get(like, seconds) * 1.01, seconds)
            self._best[like] = best
            if seconds > _SLOW * best and self._limit > self._most / 2:
                self._back_off(0.9)
            else:
                self._limit = min(float(self._most), self._limit + 1 / self._limit)
                self._changed.notify()

    def note_refusal(self) -> None:
        """Notes a 429."""
        with self._changed:
            self._back_off(0.5)

    def _back_off(self, factor: float) -> None:
        if self._machine.monotonic() - self._backed_off > _CALM:
            self._limit = max(1.0, self._limit * factor)
            self._backed_off = self._machine.monotonic()
