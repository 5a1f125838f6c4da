"""`/count` beside the table's rows: a cheap alarm after a refresh, never a proof."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cw_pipeline.errors import SourceError, SourceMissing, SourceRefused
from cw_pipeline.model import Keeping

if TYPE_CHECKING:
    from cw_pipeline.passes.work import Work

_AT_MOST_EVERY = timedelta(hours=1)


def count_source(work: Work) -> None:
    """Asks the list's count after a run that changed something, else once an hour.

    A pass with nothing to do must not cost a second request.
    """
    report, entity = work.report, work.entity
    changed = report.rows_inserted or report.rows_deleted
    if report.kind == "backfill" or not entity.count or entity.keeping is Keeping.CHILDREN:
        return
    if not changed and not work.hold.ledger.count_due(_AT_MOST_EVERY):
        return
    if work.hold.capability()["count"] is False:
        return
    try:
        report.source_rows = work.reader.count()
    except SourceError as error:
        if isinstance(error, SourceMissing | SourceRefused):
            work.hold.remember(count=False)  # anything else may pass
        report.warnings.append(f"no count: {error}")
        return
    work.hold.ledger.counted(report.source_rows, report.row_count or 0)
