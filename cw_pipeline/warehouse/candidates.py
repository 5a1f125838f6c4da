"""Rows that the source no longer lists and that the delete guard kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection


@dataclass(frozen=True, slots=True)
class DeleteCandidate:
    """One such row: since when it is missed, and why it was kept. `parent_id` of a child."""

    entity: str
    record_id: int
    parent_id: int | None
    seen_at: datetime
    reason: str


def delete_candidates(
    connection: Connection[Any], tenant: str, entities: Sequence[str] | None = None
) -> list[DeleteCandidate]:
    """The rows kept of these entities; of all without them."""
    rows = connection.execute(
        "select entity, record_id, nullif(parent_id, 0), seen_at, reason"
        " from cw_sync.delete_candidate"
        " where tenant = %s and (%s::text[] is null or entity = any(%s))"
        " order by entity, parent_id, record_id",
        [tenant, entities, entities],
    )
    return [DeleteCandidate(*row) for row in rows]
