"""The pass over a list that shows no changes: read whole, compared by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.model import Checkpoint
from cw_pipeline.sync.deletes import DeleteGuard, delete_or_list, not_listed_twice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cw_pipeline.sync.run import Run

_GUARDED = DeleteGuard()


def full_sync(run: Run, guard: DeleteGuard = _GUARDED) -> None:
    """Makes the table what the list is. Raises what reading raises; then nothing was deleted."""
    until = run.context.source.now().at.replace(microsecond=0)
    began = run.store.warehouse_now()
    seen = run.read_with_any_paging(lambda: _read(run, began))
    _retire(run, guard, seen, began)
    run.store.save_checkpoint(Checkpoint(watermark=until))
    run.result.watermark = until


def _read(run: Run, began: datetime) -> list[int]:
    """Every id or position the list showed, rejects included: they are there, if not in form."""
    seen: list[int] = []
    for batch in run.reader.walk(run.reader.query()):
        seen += batch.listed_ids
        run.load(batch, read_after=began)
    return seen


def _retire(run: Run, guard: DeleteGuard, seen: Sequence[int], began: datetime) -> None:
    gone = run.store.absent_ids(seen)
    live = run.store.row_count() if gone else 0
    why = guard.reason_to_keep(run, len(gone), len(seen), live)
    if told := delete_or_list(run, gone if why else not_listed_twice(run, gone), why, began):
        run.result.warnings.append(told)
