"""What every pass works with: one tenant's source, warehouse and limits, and work side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import heappop, heappush
from queue import SimpleQueue
from threading import Condition, Event, Lock, get_ident
from typing import TYPE_CHECKING, Generic, TypeVar

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import Interrupted
from cw_pipeline.machine import THIS, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor, Future

    from cw_pipeline.connectwise import ConnectWise
    from cw_pipeline.model import Entity
    from cw_pipeline.transform.mask import MaskingRules
    from cw_pipeline.warehouse import Database

T = TypeVar("T")

_LOADED_AT_ONCE = 2
_GLANCE = 0.5  # seconds between looks whether the run is to end
_LOADED = 20.0  # seconds in which a page is loaded, unless something is in its way


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a pass may go. Times of the source's clock unless said otherwise.

    `concurrency` is also how many ranges or parents of one entity are read side by side: one
    request is in flight for each, so fewer would leave a part of the limit unused.
    """

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
    def sweep(self) -> int:
        """How many unchanged parents a pass may read again: their share of five minutes' budget."""
        return max(1, int(self.requests_per_minute * 5 * self.children_share / 2))


@dataclass(slots=True, eq=False)
class LoadSlots:
    """Limits how many pages are decoded and loaded at a time. A context manager for one page.

    Pages take ten times the memory of their bodies, and more of them than cores would only wait for
    each other. One that takes longer than `most` seconds waits for somebody who has locked its
    table: its place goes to the next, so that other entities go on.
    """

    places: int
    most: float = _LOADED
    _began: dict[int, float] = field(default_factory=dict)  # by thread
    _waiting: int = 0
    _changed: Condition = field(default_factory=Condition)

    @property
    def has_waiting(self) -> bool:
        """Whether pages that have arrived wait here."""
        return self._waiting > 0

    def __enter__(self) -> None:
        with self._changed:
            self._waiting += 1
            while len(self._began) >= self.places:
                # Until a place is given back, or the one that is due to count as given back.
                last = sorted(self._began.values(), reverse=True)[self.places - 1]
                if (seconds := last + self.most - time.monotonic()) <= 0:
                    break
                self._changed.wait(seconds)
            self._waiting -= 1
            self._began[get_ident()] = time.monotonic()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            del self._began[get_ident()]
            self._changed.notify()


@dataclass(frozen=True, slots=True)
class SyncContext:
    """One tenant, connected."""

    source: ConnectWise
    database: Database
    limits: Limits
    fetchers: Executor
    dagster_run_id: str | None = None
    privacy: MaskingRules | None = None
    load_slots: LoadSlots = field(default_factory=lambda: LoadSlots(_LOADED_AT_ONCE))
    stopping: Event = field(default_factory=Event)
    machine: Machine = THIS

    def check(self) -> None:
        """Raises Interrupted when `stopping` is set: passes end between two pages."""
        if self.stopping.is_set():
            raise Interrupted("interrupted")

    def wait_for(self, answer: Future[bytes], over: Event | None = None) -> None:
        """Returns when it has come. Raises Interrupted: a silent server must not keep a run.

        Also once `over` is set.
        """
        while True:
            try:
                answer.exception(_GLANCE)
            except TimeoutError:
                self.check()
                if over is not None and over.is_set():
                    raise Interrupted("time is up") from None
            else:
                return


class ParallelTasks(Generic[T]):
    """Does `work` on parts, `lanes` at a time. Parts may add others; an error stops the rest."""

    def __init__(self, work: Callable[[T], None], lanes: int, machine: Machine = THIS) -> None:
        self._work = work
        self._stop = Event()
        self._pool = machine.executor(lanes, "lanes")
        self._running: list[Future[None]] = []

    def add(self, part: T) -> None:
        """Puts a part in the queue."""
        self._running.append(self._pool.submit(self._work_unless_stopped, part))

    def finish(self) -> None:
        """Returns when all is done, what is added meanwhile too. Raises what a part raised."""
        with self._pool:
            for one in self._running:
                one.exception()
        for one in self._running:
            one.result()

    def _work_unless_stopped(self, part: T) -> None:
        if self._stop.is_set():
            return
        try:
            self._work(part)
        except BaseException:
            self._stop.set()
            raise


def parallel_tasks(
    work: Callable[[T], None], parts: Iterable[T], lanes: int, machine: Machine = THIS
) -> None:
    """Does `work` on every part, `lanes` at a time. An error stops the rest and is raised."""
    running = ParallelTasks(work, lanes, machine)
    for part in parts:
        running.add(part)
    running.finish()


def in_parent_order(
    entities: Sequence[Entity],
    work: Callable[[Entity], T],
    workers: int,
    stopping: Event,
    machine: Machine = THIS,
) -> Iterator[T]:
    """What `work` makes of each entity, as it finishes, so many at a time.

    A child begins as soon as its parent is done: it finds the parent's rows. Of several that could
    begin, the one that stands first does. The first error is raised; then, and when nobody wants
    more, `stopping` is set and what runs is waited for.
    """
    place = {entity.name: at for at, entity in enumerate(entities)}
    children: dict[str | None, list[Entity]] = {}
    for entity in entities:
        above = entity.parent  # or the nearest of its ancestors that is to be worked on, too
        while above is not None and above not in place:
            above = CATALOG[above].parent
        children.setdefault(above, []).append(entity)
    ready: list[tuple[bool, int]] = []
    lock = Lock()
    pool = machine.executor(workers, "entities")
    results: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def begin_below(parent: str | None) -> None:
        for entity in children.get(parent, ()):
            with lock:
                heappush(ready, (entity.parent is not None, place[entity.name]))
            pool.submit(work_on_next)

    def work_on_next() -> None:
        with lock:
            entity = entities[heappop(ready)[1]]
        try:
            result = work(entity)
        except BaseException as error:  # noqa: BLE001 - raised where the results are asked for
            results.put((None, error))
            return
        results.put((result, None))
        begin_below(entity.name)

    try:
        begin_below(None)
        for _ in entities:
            result, error = results.get()
            if error is not None:
                raise error  # noqa: TRY301 - what the work raised
            yield result  # type: ignore[misc] # one of the two is None
    except BaseException:
        stopping.set()  # or we would wait for hours of reading
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
