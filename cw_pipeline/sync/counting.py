"""`/count` beside the table's rows: a cheap alarm after a refresh, never a proof."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cw_pipeline.errors import SourceError, SourceMissing, SourceRefused
from cw_pipeline.model import SyncMode

if TYPE_CHECKING:
    from cw_pipeline.sync.run import Run

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
