"""The one clock of a simulation, which every part of it goes by, and what happens at its hours."""

from __future__ import annotations

import itertools
import mmap
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ClockFace:
    """The file that the simulated server takes the time from (`server_clock.c`)."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8))
        path.chmod(0o644)  # the server's account reads it
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)

    def show(self, moment: datetime) -> None:
        """From now on it is this moment, until the next is shown."""
        self._page[:] = struct.pack("=q", (moment - _EPOCH) // timedelta(microseconds=1))

    def show_real_time(self) -> None:
        """From now on it is whatever it is."""
        self._page[:] = bytes(8)


@dataclass(order=True)
class _Timer:
    at: float
    order: int
    work: Callable[[], None] = field(compare=False)
    is_off: Callable[[], bool] = field(compare=False)


class Clock:
    """Simulated time: it stands still but for `tick` and `advance`. `face` shows it to the server.

    What is due is done by `advance`, in its order, at its time.
    """

    def __init__(self, start: datetime, face: ClockFace) -> None:
        self._start = start
        self._face = face
        self._timers: list[_Timer] = []
        self._order = itertools.count()
        self.seconds = 0.0
        self.tick(0)

    def now(self) -> datetime:
        """The simulated time, UTC."""
        return self._start + timedelta(seconds=self.seconds)

    def tick(self, seconds: float) -> None:
        """Moves on, and does nothing that is due: for what goes on within one step of a thread."""
        self.seconds = round(self.seconds + seconds, 6)
        self._face.show(self.now())

    def advance(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """So many seconds pass, or as many as it takes until `until` holds."""
        end = self.seconds + seconds
        while not until() and self._timers and self._timers[0].at <= end:
            timer = heappop(self._timers)
            self.tick(max(0.0, timer.at - self.seconds))
            if not timer.is_off():
                timer.work()
        if not until():
            self.tick(max(0.0, end - self.seconds))

    def call(self, seconds: float, work: Callable[[], None], is_off: Callable[[], bool]) -> None:
        """Does the work in so many seconds, unless it is off by then."""
        heappush(self._timers, _Timer(self.seconds + seconds, next(self._order), work, is_off))
