"""The one gate every request of a process passes: the tenant's budget, and pauses it was told."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cw_pipeline.model import RequestGrant


class RateLimiter:
    """Lets requests through one by one, no faster than the tenant's budget allows.

    `grant` asks for leave on behalf of all processes of the tenant; `announce` tells them of a
    pause, in seconds, that ConnectWise asked for. Without them only pauses are kept.
    """

    def __init__(
        self,
        grant: Callable[[], RequestGrant] | None = None,
        announce: Callable[[float], None] | None = None,
    ) -> None:
        self._grant = grant
        self._announce = announce
        self._lock = Lock()
        self._left = 0
        self._open_at = 0.0

    def wait_for_turn(self) -> float:
        """Returns when a request may be sent: the seconds it had to wait."""
        started = time.monotonic()
        with self._lock:
            if self._grant is not None and self._left == 0:
                granted = self._grant()
                self._left = granted.requests
                self._open_at = max(self._open_at, time.monotonic() + granted.wait)
            self._left -= 1
        while (closed := self._open_at - time.monotonic()) > 0:
            time.sleep(closed)  # a pause may be lengthened while we wait
        return time.monotonic() - started

    def pause(self, seconds: float) -> None:
        """Keeps every request of the tenant back for so long."""
        with self._lock:
            self._open_at = max(self._open_at, time.monotonic() + seconds)
            self._left = 0  # leave that was granted before is used up, or others would be outrun
        if self._announce is not None:
            self._announce(seconds)
