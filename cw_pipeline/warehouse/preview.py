"""A glance at a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.model import Entity


def latest_rows(
    connection: Connection[Any], tenant: str, entity: Entity, rows: int = 5
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The rows that changed last: keys and stamps alone, so nothing personal."""
    stamps = [column.name for column in entity.columns if column.name == "last_updated"]
    names = [*entity.key, *stamps, "_synced_at", "_deleted_at"]
    latest = stamps[0] if stamps else entity.key[-1]
    query = sql.SQL("select {} from {} order by {} desc nulls last limit {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(tenant, entity.table),
        sql.Identifier(latest),
        rows,
    )
    return names, connection.execute(query).fetchall()
