"""What a history did, request by request and statement by statement: equal for equal seeds."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from psycopg.sql import Composable

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_THIS_RUN = ("holder", "machine", "process", "started")
"""Parameters of a statement that tell one run of the tests from another."""

_PROCESS_OF_THE_SERVER = re.compile(r"(pg_backend_pid\(\) =) \d+")


class Trace:
    """Lines with their simulated second. All are hashed; they are kept only if `is_kept`."""

    def __init__(self, seconds: Callable[[], float], *, is_kept: bool) -> None:
        self._seconds = seconds
        self._is_kept = is_kept
        self._digest = blake2b(digest_size=16)
        self.lines: list[str] = []
        self.count = 0

    @property
    def digest(self) -> str:
        """A hash of everything until now."""
        return self._digest.hexdigest()

    def add(self, line: str) -> None:
        """One more line."""
        line = f"{self._seconds():.6f} {line}"
        self._digest.update(line.encode("utf-8", "surrogatepass"))
        self.count += 1
        if self._is_kept:
            self.lines.append(line)


def statement_of(step: Any) -> str:
    """What a step of the driver, which has not begun, is about to send."""
    known = step.gi_frame.f_locals
    text = known.get("query") or known.get("command") or known.get("statement") or ""
    text = text.as_string() if isinstance(text, Composable) else text
    params, data = known.get("params"), known.get("buffer", known.get("data"))
    if isinstance(params, dict):
        params = {name: value for name, value in params.items() if name not in _OF_THIS_RUN}
    parts = [step.__name__, _one_line(text), "" if params is None else repr(params)]
    if data is not None:
        parts.append(f"{len(data)} bytes {blake2b(bytes(data), digest_size=8).hexdigest()}")
    return " ".join(filter(None, parts))


@lru_cache(maxsize=1000)  # most statements come again and again
def _one_line(text: str | bytes) -> str:
    line = " ".join((text.decode() if isinstance(text, bytes) else text).split())
    return _PROCESS_OF_THE_SERVER.sub(r"\1", line)
