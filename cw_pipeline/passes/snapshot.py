"""The pass over a list that shows no changes: read whole, compared by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.extract import Paging
from cw_pipeline.model import Checkpoint
from cw_pipeline.passes.reader import NotForward
from cw_pipeline.passes.retire import retire

if TYPE_CHECKING:
    from cw_pipeline.passes.work import Work


def snapshot(work: Work) -> None:
    """Makes the table what the list is. Raises what reading raises; then nothing was deleted."""
    until = work.engine.source.now().replace(microsecond=0)
    try:
        seen = _read(work)
    except NotForward:
        if work.reader.paging is not Paging.FORWARD:
            raise
        work.hold.remember(forward_only=False)
        work.reader.paging = Paging.KEYSET
        seen = _read(work)
    retire(work, work.hold.absent(seen))
    work.hold.save(Checkpoint(watermark=until))
    work.report.watermark = until


def _read(work: Work) -> list[int]:
    """Every id or position the list showed, rejects included: they are there, if not in form."""
    seen: list[int] = []
    for batch in work.reader.walk(work.reader.query()):
        seen += batch.every_id
        work.load(batch)
    return seen
