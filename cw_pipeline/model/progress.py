"""How far an entity has come, and what is asked for next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Window:
    """A span of source time: from `since` on, inclusive.

    A live pass has no upper bound in its question; `until` is only what its watermark becomes.
    A backfill's window is closed above: before `until`, exclusive.
    """

    since: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids after `cursor`, up to and including `upto` (None: no upper end), still to be read."""

    after: int
    upto: int | None
    cursor: int

    def advanced_to(self, cursor: int) -> IdRange:
        """This range with its cursor moved forward. Raises ValueError if it would move back."""
        if cursor <= self.cursor:
            raise ValueError(f"cursor must advance: {cursor} after {self.cursor}")
        return replace(self, cursor=cursor)


TAIL = IdRange(0, None, 0)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one entity has come, as stored.

    Every change up to `watermark` is in the warehouse. `window` is the open pass, if one was
    cut short; `tail` is its open-ended range of ids, `ranges` the closed ones that were split off
    to be read side by side.
    """

    watermark: datetime | None = None
    window: Window | None = None
    tail: IdRange = TAIL
    ranges: tuple[IdRange, ...] = ()

    def open_pass(self, now: datetime, overlap: timedelta, *, whole: bool = False) -> Checkpoint:
        """Resumes the open pass, or opens the next one, up to the source's `now`.

        `whole` opens one that reads everything, whatever the watermark says.
        """
        if self.window is not None:
            return self
        since = None if whole or self.watermark is None else self.watermark - overlap
        return Checkpoint(self.watermark, Window(since, now.replace(microsecond=0)))

    def close_pass(self) -> Checkpoint:
        """Closes the pass: its end becomes the watermark, which never moves back."""
        if self.window is None:
            raise ValueError("no pass is open")
        ends = [end for end in (self.watermark, self.window.until) if end is not None]
        return Checkpoint(watermark=max(ends))


@dataclass(frozen=True, slots=True)
class RequestGrant:
    """Leave to send `requests` requests, the first one `wait` seconds from now."""

    requests: int
    wait: float
