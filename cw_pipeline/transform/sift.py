"""From the body of a page to a batch: what is stored already is not typed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from cw_pipeline.model import PackedRows
from cw_pipeline.transform import PageReader
from cw_pipeline.transform.sieve import RecordFingerprints

if TYPE_CHECKING:
    from cw_pipeline.model import Batch, Entity
    from cw_pipeline.transform.sieve import PageFingerprints

_WORTH = 100  # records: fewer are typed in less time than asking what is stored takes

StoredHashes: TypeAlias = Callable[[Sequence[int]], Mapping[int, tuple[int, datetime | None]]]
"""Hash as read and stamp of the stored records among some ids."""


class Sift:
    """Makes batches of one entity's pages. `known` tells what is stored; None: nothing yet.

    Records of children and of lists without ids are always typed: their pages are small.
    """

    def __init__(self, entity: Entity, known: StoredHashes | None) -> None:
        self._normalizer = PageReader(entity)
        self._sieve = (
            RecordFingerprints(entity) if entity.has_id and entity.parent is None else None
        )
        self.stored_hashes = known

    def batch(self, body: bytes, parent_id: int | None, start: int) -> Batch:
        """Every record of a page's body. Raises SourceBroken if it is no JSON array."""
        if self._sieve is None:
            return self._normalizer.read_page(body, parent_id=parent_id, start=start)
        if self.stored_hashes is None:
            return self._typed(body, self._sieve.seed)
        sight = self._sieve.fingerprint_page(body)
        if sight is None or len(sight.ids) < _WORTH:
            return self._typed(body, self._sieve.seed)
        return self._sifted(body, sight, self.stored_hashes(sight.ids), self._sieve.seed)

    def plain(self, body: bytes, parent_id: int | None) -> Batch:
        """The same of records that did not come in a page just now."""
        return self._normalizer.read_page(body, parent_id=parent_id)

    def _sifted(
        self,
        body: bytes,
        sight: PageFingerprints,
        known: Mapping[int, tuple[int, datetime | None]],
        seed: int,
    ) -> Batch:
        seen = zip(sight.ids, sight.sources, sight.last_updated, strict=True)
        is_same = [known.get(own) == (source, stamp) for own, source, stamp in seen]
        others = [at for at, same in enumerate(is_same) if not same]
        if len(others) == len(is_same):
            return self._typed(body, seed)
        typed = self._typed(sight.body(others), seed)
        same = [at for at, is_known in enumerate(is_same) if is_known]
        return _with_known(typed, sight, same)

    def _typed(self, body: bytes, seed: int) -> Batch:
        return self._normalizer.read_page(body, seed=seed)


def _with_known(typed: Batch, sight: PageFingerprints, same: Sequence[int]) -> Batch:
    """The batch with the records that were not typed behind those that were."""
    return replace(
        typed,
        read=len(sight.ids),
        cursor=max(sight.ids),
        ids=[*typed.ids, *(sight.ids[at] for at in same)],
        last_updated=[*typed.last_updated, *(sight.last_updated[at] for at in same)],
        hashes=[*typed.hashes, *[None] * len(same)],
        tables=[
            PackedRows(table.data, [*table.ends, *[len(table.data)] * len(same)])
            for table in typed.tables
        ],
        listed=sight.ids,
    )
