"""Deleting rows the source no longer lists: asked for twice, and never many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.passes.work import Work


def retire(work: Work, gone: Sequence[int], *, allowed: int | None = None) -> int:
    """Soft-deletes rows that a whole read did not show, once a second question confirms: how many.

    Deletes nothing when more than `max_delete_fraction` of the rows would go: a narrowed security
    role looks exactly like that.
    """
    if not gone:
        return 0
    limit = allowance(work, work.hold.row_count()) if allowed is None else allowed
    if len(gone) > limit:
        work.report.warnings.append(
            f"{len(gone)} rows are no longer listed, more than CW_MAX_DELETE_FRACTION allows"
            f" ({limit}): nothing was deleted. If the API member's role is unchanged,"
            " `reconcile --apply-deletes` deletes them"
        )
        return 0
    confirmed = list(gone)
    if work.entity.has_id:
        still = work.reader.present(list(gone))
        confirmed = [own for own in gone if own not in still]
    deleted = work.hold.delete(confirmed)
    work.report.rows_deleted += deleted
    return deleted


def allowance(work: Work, live: int) -> int:
    """How many rows may go at once: the fraction, but always one, or short lists never shrink."""
    return max(1, int(live * work.limits.max_delete_fraction))
