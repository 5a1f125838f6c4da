"""The pass over a list that shows no changes: read whole, compared by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.model import Checkpoint
from cw_pipeline.sync.deletes import DeleteGuard, delete_or_list, not_listed_twice
from cw_pipeline.sync.run import read_with_any_paging

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cw_pipeline.sync.run import Run

_GUARDED = DeleteGuard()


def full_sync(work: Run, guard: DeleteGuard = _GUARDED) -> None:
    """Makes the table what the list is. Raises what reading raises; then nothing was deleted."""
    until = work.engine.source.now().replace(microsecond=0)
    began = work.hold.warehouse_now()
    seen = read_with_any_paging(work, lambda: _read(work))
    _retire(work, guard, seen, began)
    work.hold.save_checkpoint(Checkpoint(watermark=until))
    work.report.watermark = until


def _read(work: Run) -> list[int]:
    """Every id or position the list showed, rejects included: they are there, if not in form."""
    seen: list[int] = []
    for batch in work.reader.walk(work.reader.query()):
        seen += batch.listed_ids
        work.load(batch)
    return seen


def _retire(work: Run, guard: DeleteGuard, seen: Sequence[int], began: datetime) -> None:
    gone = work.hold.absent_ids(seen)
    live = work.hold.row_count() if gone else 0
    why = guard.reason_to_keep(work, len(gone), len(seen), live)
    if told := delete_or_list(work, gone if why else not_listed_twice(work, gone), why, began):
        work.report.warnings.append(told)
