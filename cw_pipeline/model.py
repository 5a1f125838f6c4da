"""The nouns of the pipeline, in the order a record meets them.

Nothing here does I/O; every other module speaks in these types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

Row: TypeAlias = tuple[Any, ...]
"""Typed values, in the order of the table's columns."""


class Kind(StrEnum):
    """The Postgres type a column is stored as."""

    BIGINT = "bigint"
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    TIMESTAMPTZ = "timestamptz"
    DATE = "date"
    TEXT = "text"
    JSONB = "jsonb"


class Keeping(StrEnum):
    """How an entity's table is kept in step with its list."""

    WINDOW = "window"  # changes found by lastUpdated
    SNAPSHOT = "snapshot"  # read whole each time, compared by hash
    CHILDREN = "children"  # read parent by parent


@dataclass(frozen=True, slots=True)
class Column:
    """One warehouse column and the keys that lead to its value in the record."""

    name: str
    path: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True, slots=True)
class Array:
    """An array of objects inside a record: a table of its own, keyed by parent id and position."""

    table: str
    field: str
    columns: tuple[Column, ...]

    @property
    def row_columns(self) -> tuple[Column, ...]:
        """What a row holds, in order: parent id, position from 0, the element, extra."""
        return (
            Column("parent_id", (), Kind.BIGINT),
            Column("position", (), Kind.BIGINT),
            *self.columns,
            Column("_extra", (), Kind.JSONB),
        )


@dataclass(frozen=True, slots=True)
class Entity:
    """One ConnectWise list and the table that holds it.

    `path` is the vendor's, with the parent's place written `{parentId}`.
    """

    name: str
    path: str
    table: str
    module: str
    keeping: Keeping
    columns: tuple[Column, ...]
    arrays: tuple[Array, ...] = ()
    parent: str | None = None
    has_id: bool = True
    count: bool = True
    search: bool = False
    by_id: bool = True
    core: bool = False
    description: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key. A child's id is trusted only within its parent."""
        own = "id" if self.has_id else "_position"
        return ("parent_id", own) if self.parent else (own,)

    @property
    def row_columns(self) -> tuple[Column, ...]:
        """What a row of a batch holds, in order: keys from outside, the record, hash and extra."""
        outside = [name for name in self.key if name != "id"]
        return (
            *(Column(name, (), Kind.BIGINT) for name in outside),
            *self.columns,
            Column("_row_hash", (), Kind.BIGINT),
            Column("_extra", (), Kind.JSONB),
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A span of source time: from `since` on, inclusive.

    A live pass has no upper bound in its question; `until` is only what its watermark becomes.
    A backfill's window is closed above: before `until`, exclusive.
    """

    since: datetime | None
    until: datetime


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids after `cursor`, up to and including `upto` (None: no upper end), still to be read."""

    after: int
    upto: int | None
    cursor: int

    def reached(self, cursor: int) -> IdRange:
        """This range with its cursor moved forward. Raises ValueError if it would move back."""
        if cursor <= self.cursor:
            raise ValueError(f"cursor must advance: {cursor} after {self.cursor}")
        return replace(self, cursor=cursor)


TAIL = IdRange(0, None, 0)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one entity has come, as stored.

    Every change up to `watermark` is in the warehouse. `window` is the open pass, if one was
    cut short; `tail` is its open-ended range of ids, `ranges` the closed ones that were split off
    to be read side by side.
    """

    watermark: datetime | None = None
    window: Window | None = None
    tail: IdRange = TAIL
    ranges: tuple[IdRange, ...] = ()

    def opened(self, now: datetime, overlap: timedelta, *, whole: bool = False) -> Checkpoint:
        """Resumes the open pass, or opens the next one, up to the source's `now`.

        `whole` opens one that reads everything, whatever the watermark says.
        """
        if self.window is not None:
            return self
        since = None if whole or self.watermark is None else self.watermark - overlap
        return Checkpoint(self.watermark, Window(since, now.replace(microsecond=0)))

    def completed(self) -> Checkpoint:
        """Closes the pass: its end becomes the watermark, which never moves back."""
        if self.window is None:
            raise ValueError("no pass is open")
        ends = [end for end in (self.watermark, self.window.until) if end is not None]
        return Checkpoint(watermark=max(ends))


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to send `requests` requests, the first one `wait` seconds from now."""

    requests: int
    wait: float


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
class Drift:
    """A field that the catalog does not know, or a value that had to be mended to fit."""

    column: str
    change: str
    sample: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A page as typed rows, beside the records that would not fit.

    `rows`, `ids`, `stamps` and `hashes` run in step. `array_rows(i)` makes the rows of the
    record's arrays, one list for each of the entity's arrays, when they are needed.
    """

    read: int
    cursor: int | None
    ids: Sequence[int]
    stamps: Sequence[datetime | None]
    hashes: Sequence[int]
    rows: Sequence[Row]
    array_rows: Callable[[int], list[list[Row]]]
    rejects: tuple[Reject, ...] = ()
    drift: tuple[Drift, ...] = ()

    @property
    def every_id(self) -> list[int]:
        """The ids that the page showed: rejects are at the source too, if not in form."""
        rejected = (reject.record_id for reject in self.rejects)
        return [*self.ids, *(own for own in rejected if own is not None)]


@dataclass(slots=True)
class Report:
    """What one run of one entity did. `rows_read` is the sum of the four below it."""

    entity: str
    kind: str
    rows_read: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_unchanged: int = 0
    dead_letters: int = 0
    rows_deleted: int = 0
    rows_healed: int = 0
    requests: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    pages: int = 0
    watermark: datetime | None = None
    row_count: int | None = None
    source_rows: int | None = None
    failure: Exception | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Audit:
    """What one reconcile or re-read of one entity found.

    `missing`, `stale` and `extra` were found by the sweep; `healed` and `deleted` is what was done
    about them. `proven`: nothing was left over, so table and list held the same as of then.
    `drift` counts rows that differed although `lastUpdated` had not moved.
    """

    entity: str
    kind: str = "reconcile"
    source_rows: int | None = None
    warehouse_rows: int | None = None
    missing: int = 0
    stale: int = 0
    extra: int = 0
    healed: int = 0
    deleted: int = 0
    drift: int = 0
    proven: bool = False
    detail: str = ""
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """A column of one of the tenant's reports, as the reporting API declares it.

    `position` counts from 1. `nullable` is None where it is not said.
    """

    report: str
    column: str
    type: str
    nullable: bool | None
    position: int


@dataclass(frozen=True, slots=True)
class ReportDrift:
    """How a report differs from what it was: `change` is added, removed or retyped."""

    report: str
    column: str
    change: str
    was: str
    now: str
