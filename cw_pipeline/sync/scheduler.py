"""Many entities at a time, each after its parent."""

from __future__ import annotations

from heapq import heappop, heappush
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from cw_pipeline.catalog import CATALOG
from cw_pipeline.machine import THIS, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor
    from threading import Event

    from cw_pipeline.model import Entity

T = TypeVar("T")


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
    family = _ParentFirstScheduler(entities, work, machine.executor(workers, "entities"))
    try:
        yield from family.results()
    except BaseException:
        stopping.set()  # or we would wait for hours of reading
        raise
    finally:
        family.end()


class _ParentFirstScheduler(Generic[T]):
    def __init__(
        self, entities: Sequence[Entity], work: Callable[[Entity], T], pool: Executor
    ) -> None:
        self._entities = entities
        self._work = work
        self._pool = pool
        self._lock = Lock()
        self._place = {entity.name: at for at, entity in enumerate(entities)}
        self._turn = {e.name: (e.parent is not None, at) for at, e in enumerate(entities)}
        self._children: dict[str | None, list[Entity]] = {}
        for entity in entities:
            self._children.setdefault(self._above(entity), []).append(entity)
        self._ready: list[tuple[bool, int]] = []
        self._results: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def results(self) -> Iterator[T]:
        self._begin(self._children.get(None, ()))
        for _ in self._entities:
            result, error = self._results.get()
            if error is not None:
                raise error
            yield result  # type: ignore[misc] # one of the two is None

    def end(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _above(self, entity: Entity) -> str | None:
        """The nearest of its ancestors that is to be worked on, too."""
        while entity.parent is not None:
            if entity.parent in self._place:
                return entity.parent
            entity = CATALOG[entity.parent]
        return None

    def _begin(self, entities: Iterable[Entity]) -> None:
        for entity in entities:
            with self._lock:
                heappush(self._ready, self._turn[entity.name])
            self._pool.submit(self._next)

    def _next(self) -> None:
        with self._lock:
            entity = self._entities[heappop(self._ready)[1]]
        try:
            result = self._work(entity)
        except BaseException as error:  # noqa: BLE001 - raised where the results are asked for
            self._results.put((None, error))
            return
        self._results.put((result, None))
        self._begin(self._children.get(entity.name, ()))
