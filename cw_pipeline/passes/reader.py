"""Walking a list: batches in order until an empty page, the next one fetched meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.errors import PipelineError, SourceBroken
from cw_pipeline.extract import Paging, Query, Tally
from cw_pipeline.normalize import Normalizer, id_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from cw_pipeline.model import Batch, Entity
    from cw_pipeline.passes.engine import Engine


_ASKED_AT_ONCE = 100  # keeps the URL below the guide's 2,000 characters for any 64-bit ids


class NotForward(PipelineError):
    """The list does not take the paging it was asked with: ids do not go up from page to page."""


class Reader:
    """Reads one entity's list for one run, and counts what that costs."""

    def __init__(self, engine: Engine, entity: Entity) -> None:
        self._engine = engine
        self._entity = entity
        self._normalizer = Normalizer(entity)
        self.tally = Tally()
        self.pages = 0
        self.paging = Paging.FORWARD if entity.has_id else Paging.OFFSET

    def query(self, parents: tuple[int, ...] = ()) -> Query:
        """A question for the whole list, or for one parent's part of it.

        `parents` are the ids that the path names, outermost first.
        """
        path = self._entity.path
        for placeholder, own in zip(_placeholders(path), parents, strict=True):
            path = path.replace(placeholder, str(own), 1)
        return Query(path, page_size=self._engine.limits.page_size, paging=self.paging)

    def walk(self, query: Query, parent_id: int | None = None) -> Iterator[Batch]:
        """Every batch of the list from the query's cursor on.

        Ends at an empty page and at nothing else: a short page may be a server's own limit, and
        the link to a next page is always there (guide, "Forward-Only"). Raises NotForward.
        """
        start, before = 0, None
        pending = self._fetch(query, parent_id, start)
        try:
            while (batch := pending.result()).read:
                self.pages += 1
                if query.paging is Paging.OFFSET:
                    if batch.hashes and batch.hashes == before:
                        return  # it does not page at all: this is the first page once more
                    before = list(batch.hashes)
                else:
                    _check_order(query, batch)
                start += batch.read
                query = query.after(batch.cursor)
                pending = self._fetch(query, parent_id, start)
                yield batch
        finally:
            pending.cancel()

    def first(self, query: Query, parent_id: int | None = None) -> Batch:
        """The first batch of what is asked for; an empty one at the end. Raises NotForward."""
        batch = self._fetch(query, parent_id, 0).result()
        if batch.read:
            self.pages += 1
            _check_order(query, batch)
        return batch

    def highest_id(self) -> int | None:
        """The highest id in the list, or None if the list does not say."""
        query = replace(
            self.query(), page_size=1, fields="id", order="id desc", paging=Paging.OFFSET
        )
        ids = self._engine.source.ask(query, id_of, self.tally)
        return ids[0] if ids else None

    def present(self, ids: list[int], parents: tuple[int, ...] = ()) -> set[int]:
        """Which of these ids the list has. Asked in questions of at most 100 ids."""
        found: set[int] = set()
        for at in range(0, len(ids), _ASKED_AT_ONCE):
            some = ", ".join(str(own) for own in ids[at : at + _ASKED_AT_ONCE])
            query = replace(
                self.query(parents),
                conditions=(f"id in ({some})",),
                fields="id",
                paging=Paging.OFFSET,
            )
            found.update(self._engine.source.ask(query, id_of, self.tally))
        return found

    def _fetch(self, query: Query, parent_id: int | None, start: int) -> Future[Batch]:
        def read(body: bytes) -> Batch:
            return self._normalizer.batch(body, parent_id=parent_id, start=start)

        return self._engine.fetchers.submit(self._engine.source.ask, query, read, self.tally)


def _check_order(query: Query, batch: Batch) -> None:
    if batch.cursor is None:
        raise SourceBroken(
            f"{query.path}: no record on a page has an id, so the next page is unknown"
        )
    if batch.cursor <= query.cursor or min(batch.ids, default=batch.cursor) <= query.cursor:
        raise NotForward(f"{query.path}: asked for ids after {query.cursor}, got others")


def _placeholders(path: str) -> list[str]:
    return [step for step in path.split("/") if step.startswith("{")]
