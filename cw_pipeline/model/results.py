"""What a run did, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(slots=True)
class SyncResult:
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
    api_version: str | None = None
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

    @property
    def proven_rows(self) -> int:
        """Rows that both hold, now that what differed is repaired or deleted; 0 unless proven.

        `warehouse_rows` of a sweep is what the table had before.
        """
        both = self.warehouse_rows if self.source_rows is None else self.source_rows
        return both or 0 if self.proven else 0


class ReplayResult(NamedTuple):
    """What came of trying a dead letter again: "loaded", "gone at the source", or why not."""

    dead_letter: int
    outcome: str


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
