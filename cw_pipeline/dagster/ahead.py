"""All entities of a run synced in one go, while its steps tell what came of it one by one.

Each step would else wait for the slowest list of its module, with the tenant and a core at rest.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cw_pipeline.model import Entity, SyncResult


class BackgroundSync:
    """Takes the reports of `sync` as they come, and hands each to the step that asks for it."""

    def __init__(
        self,
        entities: Iterable[Entity],
        sync: Callable[[], Iterator[SyncResult]],
        on_report: Callable[[SyncResult], None],
    ) -> None:
        self._module = {entity.name: entity.module for entity in entities}
        self._queues: dict[str, SimpleQueue[SyncResult | BaseException]] = {
            module: SimpleQueue() for module in set(self._module.values())
        }
        self._sync = sync
        self._on_report = on_report
        self._thread = Thread(target=self._run, name="ahead")
        self._thread.start()

    def reports(self, entities: Iterable[Entity]) -> Iterator[SyncResult]:
        """The report of each of these entities, which are all of their module's, as it comes.

        Raises what has ended the sync.
        """
        for entity in entities:
            told = self._queues[entity.module].get()
            if isinstance(told, BaseException):
                raise told
            yield told

    def join(self) -> None:
        """Returns when the sync has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            for report in self._sync():
                self._on_report(report)
                self._queues[self._module[report.entity]].put(report)
        except BaseException as error:  # noqa: BLE001 - raised in the steps
            for queue in self._queues.values():
                queue.put(error)
