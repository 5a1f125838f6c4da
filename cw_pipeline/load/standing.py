"""How every entity of a tenant stands, and a glance at a table: what is shown, never decided on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from datetime import datetime

    from cw_pipeline.load.warehouse import Warehouse
    from cw_pipeline.model import Entity

_STANDING = """
select coalesce(c.entity, d.entity), c.watermark, coalesce(d.letters, 0), d.oldest, a.at, a.proven_at
from (select entity, watermark from cw_sync.checkpoint where tenant = %(tenant)s) c
full join (
    select entity, count(*) as letters, min(first_seen) as oldest from cw_sync.dead_letter
    where tenant = %(tenant)s and resolved_at is null group by entity
) d on d.entity = c.entity
left join (
    select entity, max(at) as at, max(at) filter (where proven) as proven_at from cw_sync.audit
    where tenant = %(tenant)s group by entity
) a on a.entity = c.entity
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an entity stands. Times are None for what has not happened."""

    watermark: datetime | None = None
    open_dead_letters: int = 0
    oldest_dead_letter: datetime | None = None
    audited_at: datetime | None = None
    proven_at: datetime | None = None


def standings(warehouse: Warehouse) -> dict[str, Standing]:
    """The standing of each entity that was ever touched, by name."""
    with warehouse.connection() as connection:
        rows = connection.execute(_STANDING, {"tenant": warehouse.tenant}).fetchall()
    return {row[0]: Standing(*row[1:]) for row in rows}


def preview(
    warehouse: Warehouse, entity: Entity, rows: int = 5
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The rows that changed last: keys and stamps alone, no personal data."""
    stamps = ["last_updated"] if any(c.name == "last_updated" for c in entity.columns) else []
    names = [*entity.key, *stamps, "_synced_at", "_deleted_at"]
    latest = stamps[0] if stamps else entity.key[-1]
    query = sql.SQL("select {} from {} order by {} desc nulls last limit {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(warehouse.tenant, entity.table),
        sql.Identifier(latest),
        rows,
    )
    with warehouse.connection() as connection:
        return names, connection.execute(query).fetchall()
