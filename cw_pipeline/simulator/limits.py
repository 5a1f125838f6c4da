"""The request budget: so many requests in any minute, then 429."""

from __future__ import annotations

import math
from collections import deque

from cw_pipeline.machine import THIS, Machine


class Limit:
    """A sliding window over the machine's time. `per_window` None: no limit."""

    def __init__(
        self, per_window: int | None, window: float = 60.0, machine: Machine = THIS
    ) -> None:
        self._machine = machine
        self.per_window = per_window
        self.window = window
        self._at: deque[float] = deque()

    def wait(self) -> int:
        """Counts a request and gives 0; or gives the whole seconds until one fits again."""
        if self.per_window is None:
            return 0
        now = self._machine.monotonic()
        while self._at and self._at[0] <= now - self.window:
            self._at.popleft()
        if len(self._at) < self.per_window:
            self._at.append(now)
            return 0
        return max(1, math.ceil(self._at[0] + self.window - now))
