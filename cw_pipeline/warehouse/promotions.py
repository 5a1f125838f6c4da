"""Fields that became columns of this warehouse: stored as data, so that every process has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cw_pipeline.catalog.promotion import promoted
from cw_pipeline.model import Column, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Entity


@dataclass(frozen=True, slots=True)
class SchemaDriftEntry:
    """A field that the catalog does not know, or values of one that had to be mended."""

    entity: str
    field: str
    change: str
    first_seen: datetime
    last_seen: datetime
    sample: str


def schema_drift(connection: Connection[Any], tenant: str) -> list[SchemaDriftEntry]:
    """What came back and is not as the catalog says."""
    rows = connection.execute(
        'select entity, "column", change, first_seen, last_seen, sample from cw_sync.column_drift'
        ' where tenant = %s order by entity, "column", change',
        [tenant],
    )
    return [SchemaDriftEntry(*row) for row in rows]


def promotions(connection: Connection[Any], tenant: str) -> dict[str, list[Column]]:
    """The promoted columns of each entity that has some, in the order they came."""
    rows = connection.execute(
        "select entity, column_name, path, kind from cw_sync.promoted_column"
        " where tenant = %s order by promoted_at, path",
        [tenant],
    )
    found: dict[str, list[Column]] = {}
    for entity, name, path, kind in rows:
        found.setdefault(entity, []).append(Column(name, tuple(path), Kind(kind)))
    return found


def entities_with_promotions(
    connection: Connection[Any], tenant: str, entities: Iterable[Entity]
) -> list[Entity]:
    """The entities with the columns that were promoted in this warehouse."""
    found = promotions(connection, tenant)
    return [promoted(entity, found.get(entity.name, ())) for entity in entities]


def keep(connection: Connection[Any], tenant: str, entity: str, column: Column) -> None:
    """Stores a promotion; `column.path` leads to the field from the record's root."""
    connection.execute(
        "insert into cw_sync.promoted_column (tenant, entity, path, column_name, kind)"
        " values (%s, %s, %s, %s, %s) on conflict (tenant, entity, path)"
        " do update set kind = excluded.kind",
        [tenant, entity, list(column.path), column.name, column.kind],
    )
    connection.execute(
        'delete from cw_sync.column_drift where tenant = %s and entity = %s and "column" = %s'
        " and change = 'unknown field'",
        [tenant, entity, ".".join(column.path)],
    )
