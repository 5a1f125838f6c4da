"""What to tell, and what to advise, of an entity that stands as it should not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.plural import count

if TYPE_CHECKING:
    from cw_pipeline.warehouse.status import EntityStatus


def explain_silent_changes(standing: EntityStatus) -> str:
    """How many records changed without a stamp, and what helps."""
    return (
        f"{standing.drift:,} of {count(standing.reread, 'record')} read again in the last two"
        " weeks had changed although lastUpdated had not moved: a sync cannot see such changes. A"
        " lower CW_REREAD_NIGHTS finds them sooner,"
        f" `sync --full {standing.entity}` at once"
    )


def explain_count_difference(standing: EntityStatus) -> str:
    """What `/count` said beside the table, and what to do where they differ."""
    rows, letters = standing.counted_rows or 0, standing.dead_letters
    beside = f" and {count(letters, 'dead letter')}" if letters else ""
    told = (
        f"/count said {standing.source_rows or 0:,} at {standing.counted_at:%Y-%m-%d %H:%M} UTC,"
        f" when the table had {count(rows, 'row')}{beside}"
    )
    finds = f". `reconcile {standing.entity}` finds which"
    return told + (finds if standing.miscounted else "")
