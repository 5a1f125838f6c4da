"""The pass over a list that shows no changes: read whole, compared by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.model import Checkpoint
from cw_pipeline.sync.deletes import Guard, confirmed, retire
from cw_pipeline.sync.paging import any_way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cw_pipeline.sync.run import Work

_GUARDED = Guard()


def snapshot(work: Work, guard: Guard = _GUARDED) -> None:
    """Makes the table what the list is. Raises what reading raises; then nothing was deleted."""
    until = work.engine.source.now().replace(microsecond=0)
    began = work.hold.warehouse_now()
    seen = any_way(work, lambda: _read(work))
    _retire(work, guard, seen, began)
    work.hold.save_checkpoint(Checkpoint(watermark=until))
    work.report.watermark = until


def _read(work: Work) -> list[int]:
    """Every id or position the list showed, rejects included: they are there, if not in form."""
    seen: list[int] = []
    for batch in work.reader.walk(work.reader.query()):
        seen += batch.listed_ids
        work.load(batch)
    return seen


def _retire(work: Work, guard: Guard, seen: Sequence[int], began: datetime) -> None:
    gone = work.hold.absent_ids(seen)
    live = work.hold.row_count() if gone else 0
    why = guard.objection(work, len(gone), len(seen), live)
    if told := retire(work, gone if why else confirmed(work, gone), why, began):
        work.report.warnings.append(told)
