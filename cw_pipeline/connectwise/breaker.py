"""The circuit breaker: a tenant that answers nothing is left alone for a while.

Own code, not a library's: those found hold a lock during the call, one request at a time.
"""

from __future__ import annotations

import time
from threading import Lock

from cw_pipeline.errors import SourceDown

_TRIPS_AFTER = 5  # questions in a row that failed with all their retries
_RESTS = 60.0  # seconds


class CircuitBreaker:
    """Counts failures in a row; after too many, everything fails at once until it has rested."""

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0
        self._lock = Lock()

    def check(self) -> None:
        """Returns if a question may be asked. Raises SourceDown while the breaker is open."""
        left = self._open_until - time.monotonic()
        if left > 0:
            raise SourceDown(
                f"ConnectWise failed {_TRIPS_AFTER} questions in a row; it is left alone for"
                f" {left:.0f} s more"
            )

    def failed(self) -> None:
        """Notes a question that failed in spite of its retries."""
        with self._lock:
            self._failures += 1
            if self._failures >= _TRIPS_AFTER:
                # One question is let through after the rest: failing again opens it at once.
                self._open_until = time.monotonic() + _RESTS
                self._failures = _TRIPS_AFTER - 1

    def answered(self) -> None:
        """Notes any answer at all, a refusal included."""
        with self._lock:
            self._failures = 0
