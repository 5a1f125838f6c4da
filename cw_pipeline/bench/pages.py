"""One simulated list of tickets: which records answer a question, as prepared bytes."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from isal import isal_zlib

from cw_pipeline.bench.records import FIRST, stamp_of
from cw_pipeline.sync.incremental import range_count, split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cw_pipeline.bench.records import Records

_NAME = re.compile(r"t(\d+)(-odd)?(?:-wait(\d+))?(?:-quota(\d+))?")
_UPTO = re.compile(r"\bid <= (\d+)")
_SINCE = re.compile(r"lastUpdated (>=?) \[([^\]]+)\]")
_LEVEL = 2  # of isal: 9 to 1, in a tenth of the time of gzip's usual 6, which gives 13 to 1
_GZIP = 31
_MINUTE = 60.0


@dataclass(slots=True)
class Dataset:
    """A list of `size` tickets, as the server and its clients name it: `t200000`.

    `-odd` makes every record one that is seldom sent so, `-wait600` answers after so many
    milliseconds, `-quota1000` allows so many requests in any minute.
    """

    records: Records
    size: int
    odd: bool = False
    wait: float = 0.0
    quota: int | None = None
    refused: int = 0
    asked_at: list[float] = field(default_factory=list)
    upper_ends: set[str] = field(default_factory=set)
    _changed: dict[int, float] = field(default_factory=dict)
    _pages: dict[tuple[int, ...], bytes] = field(default_factory=dict)
    _recent: deque[float] = field(default_factory=deque)

    @classmethod
    def of_name(cls, name: str, records: Records) -> Dataset:
        """The list of this name. Raises ValueError if it is none."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(name)
        size, odd, wait, quota = match.groups()
        return cls(
            records, int(size), bool(odd), int(wait or 0) / 1000, int(quota) if quota else None
        )

    def prepare(self, lanes: int, page_size: int) -> int:
        """Makes the pages of a first load in advance: how many bytes they are."""
        head = range(min(page_size, self.size))
        self._page(head)
        first, last = FIRST + len(head) - 1, FIRST + self.size - 1
        for part in split(first, last, range_count(last - first, page_size, lanes), page_size):
            assert part.upto is not None
            low, high = part.after + 1 - FIRST, part.upto + 1 - FIRST
            for start in range(low, high, page_size):
                self._page(range(start, min(start + page_size, high)))
        return sum(map(len, self._pages.values()))

    def change(self, every: int, page_size: int) -> int:
        """Changes one record in so many, now, and makes their pages: how many it were."""
        now = time.time()
        self._changed = dict.fromkeys(range(0, self.size, every), now)
        self._pages.clear()
        changed = list(self._changed)
        for start in range(0, len(changed), page_size):
            self._page(changed[start : start + page_size])
        return len(changed)

    def ranges(self) -> int:
        """How many ranges of ids it was asked for since this was last asked, the open one too."""
        ranges, self.upper_ends = len(self.upper_ends), set()
        return ranges

    def forget(self) -> None:
        """Frees the pages."""
        self._pages.clear()

    def seconds_to_wait(self) -> int:
        """Counts a request, and gives 0; or gives what `Retry-After` says when it is too many."""
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - _MINUTE:
            self._recent.popleft()
        if self.quota is not None and len(self._recent) >= self.quota:
            self.refused += 1
            return int(self._recent[0] + _MINUTE - now) + 1
        self._recent.append(now)
        self.asked_at.append(now)
        return 0

    def highest(self) -> bytes:
        """The answer to who asks for the last id."""
        return b'[{"id":%d}]' % (FIRST + self.size - 1) if self.size else b"[]"

    def page(self, asked: Mapping[str, str]) -> tuple[bytes, int | None]:
        """The gzipped page that a forward-only question asks for, and its last id if it has one."""
        start = max(0, int(asked.get("pageId", 0)) + 1 - FIRST)
        size = int(asked.get("pageSize", "25"))
        conditions = asked.get("conditions", "")
        upto = _UPTO.search(conditions)
        self.upper_ends.add(upto[1] if upto else "")
        end = min(self.size, int(upto[1]) + 1 - FIRST) if upto else self.size
        since = _SINCE.search(conditions)
        if since is None:
            chosen: Sequence[int] = range(start, max(start, min(start + size, end)))
        else:
            chosen = self._changed_since(since[1], _seconds(since[2]), start, end)[:size]
        made = self._slim(chosen) if "fields" in asked else self._page(chosen)
        return made, FIRST + chosen[-1] if chosen else None

    def _changed_since(self, how: str, since: float, start: int, end: int) -> Sequence[int]:
        if since <= stamp_of(0):
            return range(start, end)
        # Every base stamp lies years back; what is asked for since is what was changed.
        known = list(self._changed)
        found = known[bisect_right(known, start - 1) :]
        return [at for at in found if at < end and _after(int(self._changed[at]), how, since)]

    def _slim(self, chosen: Sequence[int]) -> bytes:
        raws = [self.records.slim(at, self._changed.get(at)) for at in chosen]
        return isal_zlib.compress(b"[" + b",".join(raws) + b"]", _LEVEL, wbits=_GZIP)

    def _page(self, chosen: Sequence[int]) -> bytes:
        key = (chosen[0], chosen[-1], len(chosen)) if chosen else ()
        made = self._pages.get(key)
        if made is None:
            raws = [
                self.records.raw(at, odd=self.odd, changed=self._changed.get(at)) for at in chosen
            ]
            made = isal_zlib.compress(b"[" + b",".join(raws) + b"]", _LEVEL, wbits=_GZIP)
            self._pages[key] = made
        return made


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _after(stamp: int, how: str, since: float) -> bool:
    return stamp >= since if how == ">=" else stamp > since
