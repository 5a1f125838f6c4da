"""Ranges of ids read side by side: how a list is cut up, and cut again where it is dense."""

from __future__ import annotations

import itertools
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from cw_pipeline.model import IdRange
from cw_pipeline.sync.context import ParallelTasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cw_pipeline.sync.run import Run

_WORTH = 4  # pages' worth of ids that a range has at least: a new one costs two requests
_AT_FIRST = 3  # lanes; with the server near they keep two cores busy, and a page each in memory


def split(after: int, upto: int, parts: int, step: int = 1) -> tuple[IdRange, ...]:
    """The ids in `(after, upto]` as `parts` ranges of about the same width, the highest first.

    Each begins a multiple of `step` behind `after`: where ids have no gaps, no page of that size
    has to be asked for in two parts.
    """
    width = upto - after
    bounds = [after + width * part // parts // step * step for part in range(parts)]
    pairs = list(itertools.pairwise([*bounds, upto]))
    return tuple(IdRange(low, high, low) for low, high in reversed(pairs) if low < high)


def range_count(ids: int, page_size: int, lanes: int) -> int:
    """Into how many ranges so many ids are worth splitting at first."""
    return max(1, min(lanes, _AT_FIRST, ids // (_WORTH * page_size)))


def ids_left(ids: IdRange) -> int:
    """How many ids are still to be read; 0 where there is no upper end."""
    return 0 if ids.upto is None else ids.upto - ids.cursor


def split_in_half(ids: IdRange, step: int = 1) -> tuple[IdRange, IdRange]:
    """The range up to the middle of what is left of it, and the rest as a range of its own.

    The middle is a multiple of `step` behind the cursor, as in `split`.
    """
    middle = ids.cursor + ids_left(ids) // 2 // step * step
    return replace(ids, upto=middle), IdRange(middle, ids.upto, middle)


class ParallelRanges:
    """The open ranges of a pass, each read by a lane of its own; safe to share between them.

    Ids are seldom spread evenly, so lanes run out of work. Whoever reads one of the ranges with the
    most left then gives half of that away, between two pages and before asking for the next. So
    they also grow in number, up to the limit, as long as the server is what they wait for.
    """

    def __init__(self, work: Run, read: Callable[[IdRange, ParallelRanges], None]) -> None:
        self._work = work
        self._lanes = ParallelTasks[IdRange](lambda ids: read(ids, self), work.limits.lanes)
        self._open: dict[int, IdRange] = {}
        self._lock = Lock()

    def read(self, ranges: Iterable[IdRange]) -> None:
        """Reads these, and what they are split into, to their ends."""
        for ids in ranges:
            self._add(ids)
        self._lanes.finish()

    def shared(self, ids: IdRange) -> IdRange:
        """What is left to who has come so far in a range, when a free lane has got its part."""
        with self._lock:
            self._open[ids.after] = ids
            if not self._helps() or not self._is_wide(ids):
                return ids
            mine, other = halves = split_in_half(ids, self._work.reader.page_size)
            self._work.hold.split_range(halves)
            self._open[mine.after] = mine
            self._add(other)
            return mine

    def ended(self, ids: IdRange) -> None:
        """Takes note that a range has been read to its end."""
        with self._lock:
            del self._open[ids.after]

    def _helps(self) -> bool:
        """Whether a lane is free, and pages do not pile up here already."""
        return len(self._open) < self._work.limits.lanes and not self._work.engine.desk.has_waiting

    def _is_wide(self, ids: IdRange) -> bool:
        """Whether it is worth halving, and no other has much more left: not a page, or two."""
        widest = max(map(ids_left, self._open.values()))
        return ids_left(ids) >= max(2 * _WORTH * self._work.reader.page_size, widest / 2)

    def _add(self, ids: IdRange) -> None:
        self._open[ids.after] = ids
        self._lanes.add(ids)
