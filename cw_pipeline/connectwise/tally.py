"""What asking has cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock


@dataclass(slots=True)
class RequestCounts:
    """What asking has cost so far. Safe to share between threads."""

    requests: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, *, requests: int = 0, retries: int = 0, throttled_seconds: float = 0.0) -> None:
        """Adds to the counts."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.throttled_seconds += throttled_seconds
