"""One run of one entity: what it reads with, what it writes to, and its account."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Self

from cw_pipeline.errors import TooManyRejects
from cw_pipeline.sync.list_reader import ListReader

if TYPE_CHECKING:
    from datetime import datetime

    from cw_pipeline.model import Batch, Entity, IdRange, SyncResult
    from cw_pipeline.sync.context import Limits, SyncContext
    from cw_pipeline.warehouse import Hold, MergeResult


@dataclass(slots=True)
class Run:
    """Everything a pass needs. Safe to share between the threads of one pass."""

    engine: SyncContext
    entity: Entity
    reader: ListReader
    hold: Hold
    report: SyncResult
    judged_rejects: int = 0
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, engine: SyncContext, hold: Hold, report: SyncResult) -> Self:
        """The work on the entity that `hold` holds, with the columns that it has there."""
        return cls(
            engine, hold.entity, ListReader(engine, hold.entity, hold.stored_hashes), hold, report
        )

    @property
    def limits(self) -> Limits:
        """The tenant's limits."""
        return self.engine.limits

    def totals(self, status: str, error: str | None) -> None:
        """Writes the run's row, with all that reading has cost."""
        report, tally = self.report, self.reader.tally
        report.requests, report.retries = tally.requests, tally.retries
        report.throttled_seconds, report.pages = tally.throttled_seconds, self.reader.pages
        self.hold.finish(report, status, error)

    def load(
        self,
        batch: Batch,
        reached: IdRange | None = None,
        *,
        parent_id: int | None = None,
        alone: bool = True,
        read_after: datetime | None = None,
        judged: bool = True,
    ) -> MergeResult:
        """Loads a batch and counts it. Raises TooManyRejects when a healthy pass has fewer.

        `judged=False` is for records that were rejected before.
        """
        outcome = self.hold.load(
            batch, reached, parent_id=parent_id, alone=alone, read_after=read_after
        )
        report, limits = self.report, self.limits
        with self._lock:
            report.rows_read += batch.read
            report.rows_inserted += outcome.inserted
            report.rows_updated += outcome.updated
            report.rows_unchanged += outcome.unchanged
            report.dead_letters += len(batch.rejects)
            self.judged_rejects += len(batch.rejects) if judged else 0
            allowed = max(limits.min_rejects, limits.max_reject_fraction * report.rows_read)
        if self.judged_rejects > allowed:
            raise TooManyRejects(
                f"{self.entity.name}: {self.judged_rejects} of {report.rows_read:,} records were"
                " rejected, so the watermark stays. `dead-letters list` names the fields and why"
            )
        return outcome
