"""What a page becomes on its way into the warehouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class Batch:
    """A page as rows, beside the records that would not fit.

    `ids`, `stamps` and `hashes` run in step with the records in `tables`: the entity's own table,
    and one for each of its arrays. A record without a hash is known to be stored as it is, and has
    no rows. `listed` are the ids in the page's order, where that is another.
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

    @property
    def listed_ids(self) -> list[int]:
        """The ids that the page showed: rejects are at the source too, if not in form."""
        rejected = (reject.record_id for reject in self.rejects)
        return [*self.ids, *(own for own in rejected if own is not None)]
