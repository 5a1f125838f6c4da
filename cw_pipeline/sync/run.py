"""One run of one entity: what it reads with, what it writes to, and its account."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Self, TypeVar

from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import SourceError, SourceMissing, SourceRefused, TooManyRejects
from cw_pipeline.model import SyncMode
from cw_pipeline.sync.list_reader import ListReader, PagingNotHonored

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cw_pipeline.model import Batch, Entity, IdRange, SyncResult
    from cw_pipeline.sync.context import Limits, SyncContext
    from cw_pipeline.warehouse import EntityStore, MergeResult


@dataclass(slots=True)
class Run:
    """Everything a pass needs. Safe to share between the threads of one pass."""

    engine: SyncContext
    entity: Entity
    reader: ListReader
    hold: EntityStore
    report: SyncResult
    judged_rejects: int = 0
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, engine: SyncContext, hold: EntityStore, report: SyncResult) -> Self:
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


_AT_MOST_EVERY = timedelta(hours=1)


def count_ahead(work: Run) -> None:
    """Asks how much a first load is going to read, so that its progress has a total.

    One request, for lists of more than a page. Without an answer there is no total, and no harm.
    """
    if not work.entity.count or work.hold.capability()["count"] is False:
        return
    try:
        work.hold.ledger.counted(work.reader.count(), work.hold.row_count())
    except SourceError as error:
        if isinstance(error, SourceMissing | SourceRefused):
            work.hold.learn(count=False)


def count_source(work: Run) -> None:
    """Asks the list's count after a run that changed something, else once an hour.

    A pass with nothing to do must not cost a second request.
    """
    report, entity = work.report, work.entity
    changed = report.rows_inserted or report.rows_deleted
    if report.kind == "backfill" or not entity.count or entity.mode is SyncMode.PER_PARENT:
        return
    if not changed and not work.hold.ledger.count_due(_AT_MOST_EVERY):
        return
    if work.hold.capability()["count"] is False:
        return
    try:
        report.source_rows = work.reader.count()
    except SourceError as error:
        if isinstance(error, SourceMissing | SourceRefused):
            work.hold.learn(count=False)  # anything else may pass
        report.warnings.append(f"no count: {error}")
        return
    work.hold.ledger.counted(report.source_rows, report.row_count or 0)


T = TypeVar("T")

_NEXT = {Paging.FORWARD: Paging.KEYSET, Paging.KEYSET: Paging.OFFSET}


def read_with_any_paging(work: Run, read: Callable[[], T]) -> T:
    """What `read` gives with the first paging that the list takes, from the reader's present one.

    `read` begins anew each time. That a list takes no forward-only paging is remembered. Offsets
    are the last resort: a record deleted meanwhile shifts them, so what they did not show counts
    as gone only once a second question says so. Raises what the last way raises.
    """
    while True:
        way = work.reader.paging
        try:
            return read()
        except PagingNotHonored:
            if way not in _NEXT:
                raise
        except SourceRefused as error:
            if way is not Paging.KEYSET or error.status != HTTPStatus.BAD_REQUEST:
                raise  # only a 400 is about the condition, or the order
        if way is Paging.FORWARD:
            work.hold.learn(forward_only=False)
        if work.reader.paging is way:  # another thread may have found out at the same time
            work.reader.paging = _NEXT[way]
