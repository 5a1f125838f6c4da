"""How many requests may be in flight: grows while that helps, backs off when it hurts."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

_SLOW = 3.0  # times the best time of its like: more in flight only queue up behind each other
_CALM = 5.0  # seconds after backing off before the limit may fall again: one storm is one reason


class ConcurrencyLimit:
    """A limit on requests in flight, between 1 and `most`, that finds its own level.

    Each answered request raises it by a fraction; a 429 halves it, and times that say the server
    only queues lower it. Additive up, multiplicative down: sharing processes level out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
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
    def slot(self) -> Iterator[None]:
        """Room for one request, as long as the block takes."""
        with self._changed:
            self._changed.wait_for(lambda: self._flying < int(self._limit))
            self._flying += 1
        try:
            yield
        finally:
            with self._changed:
                self._flying -= 1
                self._changed.notify()

    def answered(self, seconds: float, like: Hashable) -> None:
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

    def refused(self) -> None:
        """Notes a 429."""
        with self._changed:
            self._back_off(0.5)

    def _back_off(self, factor: float) -> None:
        if time.monotonic() - self._backed_off > _CALM:
            self._limit = max(1.0, self._limit * factor)
            self._backed_off = time.monotonic()
