"""The pass over a list that shows no changes: read whole, compared by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.model import Checkpoint
from cw_pipeline.sync.deletes import DeleteGuard, delete_or_list, not_listed_twice
from cw_pipeline.sync.list_reader import PageWalk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.sync.run import Run

_GUARDED = DeleteGuard()


def full_sync(run: Run, guard: DeleteGuard = _GUARDED) -> int:
    """Makes the table what the list is: how many different records that showed.

    Raises what reading raises; then nothing was deleted.
    """
    until = run.context.source.now().at.replace(microsecond=0)
    seen, shows_all = run.read_with_any_paging(lambda: _read(run))
    _delete_absent(run, guard, seen)
    run.store.complete_pass(Checkpoint(watermark=until), read_all=shows_all)
    run.result.watermark = until
    return len({*seen})


def _read(run: Run) -> tuple[list[int], bool]:
    """Every id or position the list showed, rejects included: they are there, if not in form.

    And whether that is all that it has, as far as its paging can tell.
    """
    seen: list[int] = []
    walk = PageWalk(run.reader, run.reader.query())
    for batch in walk:
        seen += batch.listed_ids
        run.load(batch, read_after=run.store.opened_at)
    return seen, walk.shows_all


def _delete_absent(run: Run, guard: DeleteGuard, seen: Sequence[int]) -> None:
    absent = run.store.absent_ids(seen)
    live = run.store.row_count() if absent else 0
    why = guard.reason_to_keep(run, len(absent), len(seen), live)
    gone = absent if why else not_listed_twice(run, absent)
    # Not what another run has written since this one began.
    if warning := delete_or_list(run, gone, why, run.store.opened_at):
        run.result.warnings.append(warning)
