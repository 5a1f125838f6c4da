"""What every pass works with: the source, the warehouse and the limits of one tenant."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Condition, Event
from typing import TYPE_CHECKING, Generic, TypeVar

from cw_pipeline.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cw_pipeline.connectwise import ConnectWise
    from cw_pipeline.transform.mask import Privacy
    from cw_pipeline.warehouse import Warehouse

T = TypeVar("T")

_DESK = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a pass may go. Times of the source's clock unless said otherwise."""

    page_size: int = 1000
    concurrency: int = 8
    requests_per_minute: int = 900
    overlap: timedelta = timedelta(seconds=300)
    max_delete_fraction: float = 0.05
    max_reject_fraction: float = 0.01
    min_rejects: int = 50
    children_max_age: timedelta = timedelta(hours=24)
    children_share: float = 0.2
    reread_nights: int = 14

    @property
    def lanes(self) -> int:
        """How many ranges or parents of one entity are read side by side.

        One request is in flight for each, so fewer would leave a part of the limit unused.
        """
        return self.concurrency

    @property
    def sweep(self) -> int:
        """How many unchanged parents a pass may read again: their share of five minutes' budget."""
        return max(1, int(self.requests_per_minute * 5 * self.children_share / 2))


class Desk:
    """A place for so many pages at a time to be typed and loaded. A context manager for one.

    They take ten times the memory of their bodies, and more of them than cores would only wait for
    each other.
    """

    def __init__(self, places: int) -> None:
        self._free = places  # below zero: so many wait
        self._changed = Condition()

    @property
    def crowded(self) -> bool:
        """Whether pages that have arrived wait here."""
        return self._free < 0

    def __enter__(self) -> None:
        with self._changed:
            self._free -= 1
            if self._free < 0:
                self._changed.wait()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()


@dataclass(frozen=True, slots=True)
class Engine:
    """One tenant, connected."""

    source: ConnectWise
    warehouse: Warehouse
    limits: Limits
    fetchers: Executor
    dagster_run_id: str | None = None
    privacy: Privacy | None = None
    desk: Desk = field(default_factory=lambda: Desk(_DESK))
    stopping: Event = field(default_factory=Event)

    def check(self) -> None:
        """Raises Interrupted when `stopping` is set: passes end between two pages."""
        if self.stopping.is_set():
            raise Interrupted("interrupted")


class SideBySide(Generic[T]):
    """Does `work` on parts, `lanes` at a time. Parts may add others; an error stops the rest."""

    def __init__(self, work: Callable[[T], None], lanes: int) -> None:
        self._work = work
        self._stop = Event()
        self._pool = ThreadPoolExecutor(lanes)
        self._running: list[Future[None]] = []

    def add(self, part: T) -> None:
        """Puts a part in the queue."""
        self._running.append(self._pool.submit(self._guarded, part))

    def finish(self) -> None:
        """Returns when all is done, what is added meanwhile too. Raises what a part raised."""
        with self._pool:
            for one in self._running:
                one.exception()
        for one in self._running:
            one.result()

    def _guarded(self, part: T) -> None:
        if self._stop.is_set():
            return
        try:
            self._work(part)
        except BaseException:
            self._stop.set()
            raise


def side_by_side(work: Callable[[T], None], parts: Iterable[T], lanes: int) -> None:
    """Does `work` on every part, `lanes` at a time. An error stops the rest and is raised."""
    running = SideBySide(work, lanes)
    for part in parts:
        running.add(part)
    running.finish()
