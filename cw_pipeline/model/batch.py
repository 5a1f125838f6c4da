"""What a page becomes on its way into the warehouse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from typing_extensions import Buffer

Data: TypeAlias = bytes | bytearray
"""Bytes that nobody changes any more."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not become a row, kept whole with the field and the reason.

    `detail` names fields and tells why; `record` is the JSON text as received, NULs removed.
    """

    record_id: int | None
    record: str | None
    reason: str
    detail: str
    request: str = ""


@dataclass(frozen=True, slots=True)
class SchemaDrift:
    """A field that the catalog does not know, or a value that had to be mended to fit."""

    column: str
    change: str
    sample: str


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows of one table, as Postgres' COPY takes them.

    Those that a batch's record number i makes end at `ends[i]` and begin where the last one's end.
    """

    data: Data
    ends: Sequence[int]

    def rows_of(self, chosen: Sequence[int]) -> Data:
        """The rows of these records, which are in order."""
        if len(chosen) == len(self.ends):
            return self.data
        bounds, data = (0, *self.ends), memoryview(self.data)
        return b"".join(data[bounds[at] : bounds[at + 1]] for at in chosen)

    def only(self, chosen: Sequence[int]) -> PackedRows:
        """Just the rows of these records, which are in order."""
        bounds = (0, *self.ends)
        sizes = (bounds[at + 1] - bounds[at] for at in chosen)
        return PackedRows(self.rows_of(chosen), list(accumulate(sizes)))


@dataclass(frozen=True, slots=True)
class Batch:
    """A page as rows, beside the records that would not fit.

    `ids`, `stamps` and `hashes` run in step with the records in `tables`: the entity's own table,
    and one for each of its arrays. A record without a hash is known to be stored as it is, and has
    no rows, and stands behind all that have some. `listed` are the ids in the page's order, where
    that is another; `records` the texts of those with rows; `request`, as text, is what the page
    answered.
    """

    read: int
    cursor: int | None
    ids: Sequence[int]
    last_updated: Sequence[datetime | None]
    hashes: Sequence[int | None]
    tables: Sequence[PackedRows]
    rejects: tuple[Reject, ...] = ()
    drift: tuple[SchemaDrift, ...] = ()
    listed: Sequence[int] = ()
    records: Sequence[Buffer] = ()
    request: object = ""

    @property
    def with_rows(self) -> list[int]:
        """Where the records are that have rows."""
        return [at for at, row_hash in enumerate(self.hashes) if row_hash is not None]

    def only(self, chosen: Sequence[int]) -> Batch:
        """Just these records that have rows, in order, and nothing that is told of the page."""
        return replace(
            self._of(chosen),
            read=len(chosen),
            rejects=(),
            drift=(),
            records=[self.records[at] for at in chosen],
        )

    def without(self, left_out: Sequence[int], *rejects: Reject) -> Batch:
        """The rest, with everything that is told of the page and these rejects.

        A record that is left out is counted where it is loaded, or as its reject.
        """
        out = set(left_out)
        kept = [at for at in range(len(self.ids)) if at not in out]
        return replace(
            self._of(kept),
            read=self.read - len(out) + len(rejects),
            rejects=(*self.rejects, *rejects),
            records=[self.records[at] for at in kept if at < len(self.records)],
        )

    def _of(self, chosen: Sequence[int]) -> Batch:
        return replace(
            self,
            ids=[self.ids[at] for at in chosen],
            last_updated=[self.last_updated[at] for at in chosen],
            hashes=[self.hashes[at] for at in chosen],
            tables=[table.only(chosen) for table in self.tables],
        )

    @property
    def listed_ids(self) -> list[int]:
        """The ids that the page showed: rejects are at the source too, if not in form."""
        rejected = (reject.record_id for reject in self.rejects)
        return [*self.ids, *(record_id for record_id in rejected if record_id is not None)]
