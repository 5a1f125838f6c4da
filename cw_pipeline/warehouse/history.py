"""What records used to say: closed ranges of validity, written with the merge that ends them.

Only what is over is stored. The present value is in the entity's own table, so a first load and an
unchanged record cost nothing.

    New ──────────► Assigned ──────────► (now: Closed)
        valid_to 1          valid_to 2    service_tickets.status_id
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa
from psycopg import sql

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import ConfigError
from cw_pipeline.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from psycopg import Connection

    from cw_pipeline.model import Entity


def parse_history_columns(setting: str | None) -> dict[str, tuple[str, ...]]:
    """What the catalog says, and what a comma list such as `service/tickets.severity` adds to it.

    Raises ConfigError for an entity or a column that the catalog does not know.
    """
    columns = {name: list(line.history) for name, line in CATALOG.declared.items() if line.history}
    for word in (setting or "").split(","):
        if not word.strip():
            continue
        name, _, column = word.strip().rpartition(".")
        entity = _entity(name, word.strip())
        plain = {own.name for own in entity.columns if own.kind is not Kind.JSONB}
        if column not in plain:
            raise ConfigError(f"CW_HISTORY_COLUMNS: {entity.name} has no plain column {column!r}")
        columns.setdefault(entity.name, []).append(column)
    return {name: tuple(dict.fromkeys(own)) for name, own in columns.items()}


def _entity(name: str, word: str) -> Entity:
    for own in CATALOG:
        if name in {own, CATALOG.declared[own].table}:
            return CATALOG[own]
    raise ConfigError(
        f"CW_HISTORY_COLUMNS: {word!r} names no entity; write entity.column, for example"
        " service/tickets.severity"
    )


def set_history_columns(
    connection: sa.Connection,
    tenant: str,
    columns: Mapping[str, Iterable[str]],
    *,
    and_before: bool = False,
) -> None:
    """Says which columns' changes are kept from now on, `and_before`: beside those kept before.

    What history holds stays.
    """
    wanted = [(name, column) for name, own in columns.items() for column in own]
    asked = {
        "tenant": tenant,
        "entities": [name for name, _ in wanted],
        "columns": [column for _, column in wanted],
    }
    connection.execute(
        sa.text(
            "insert into cw_sync.history_column (tenant, entity, column_name)"
            " select :tenant, * from unnest(cast(:entities as text[]), cast(:columns as text[]))"
            " on conflict do nothing"
        ),
        asked,
    )
    if and_before:
        return
    connection.execute(
        sa.text(
            "delete from cw_sync.history_column where tenant = :tenant and (entity, column_name)"
            " not in (select * from unnest(cast(:entities as text[]), cast(:columns as text[])))"
        ),
        asked,
    )


_Values: TypeAlias = tuple[datetime | None, list[Any]]


@dataclass(frozen=True, slots=True)
class _Ended:
    record_id: int
    column: str
    value: str | None
    at: datetime


@contextmanager
def keep_versions(
    connection: Connection[Any],
    tenant: str,
    entity: Entity,
    ids: Sequence[int],
    parent_id: int | None = None,
) -> Iterator[None]:
    """Keeps the tracked values of these rows that the block replaces, in its transaction.

    A value ended when the new row was last updated; now, if its stamp did not move.
    """
    columns = _columns(connection, tenant, entity) if ids else []
    if not columns:
        yield
        return
    wanted = list(ids), parent_id
    before = _stored_values(connection, tenant, entity, columns, wanted)
    yield
    ended = list(
        _ended_versions(
            columns, before, _stored_values(connection, tenant, entity, columns, wanted)
        )
    )
    if ended:
        _insert(connection, tenant, entity, ended, parent_id or 0)


def _columns(connection: Connection[Any], tenant: str, entity: Entity) -> list[str]:
    found = connection.execute(
        "select column_name from cw_sync.history_column where tenant = %s and entity = %s",
        [tenant, entity.name],
    )
    known = {column.name for column in entity.columns}
    return [row[0] for row in found if row[0] in known]


def _stored_values(
    connection: Connection[Any],
    tenant: str,
    entity: Entity,
    columns: Iterable[str],
    wanted: tuple[list[int], int | None],
) -> dict[int, _Values]:
    """Stamp and tracked values of the rows as they are now, by id."""
    ids, parent_id = wanted
    query = sql.SQL("select {key}, {stamp}, {columns} from {table} where {key} = any(%s)").format(
        key=sql.Identifier(entity.key[-1]),
        stamp=sql.Identifier("last_updated")
        if entity.has_last_updated
        else sql.SQL("null::timestamptz"),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        table=sql.Identifier(tenant, entity.table),
    )
    asked: list[Any] = [ids]
    if parent_id is not None:
        query += sql.SQL(" and parent_id = %s")
        asked.append(parent_id)
    found = connection.execute(query, asked, binary=True).fetchall()
    return {own: (stamp, values) for own, stamp, *values in found}


def _ended_versions(
    columns: Sequence[str], before: Mapping[int, _Values], after: Mapping[int, _Values]
) -> Iterator[_Ended]:
    now = datetime.now(UTC)
    for own, (was, old) in before.items():
        stamp, new = after[own]
        at = stamp if stamp is not None and (was is None or stamp > was) else now
        for column, value, present in zip(columns, old, new, strict=True):
            if value != present:
                yield _Ended(own, column, _text(value), at)


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _insert(
    connection: Connection[Any], tenant: str, entity: Entity, ended: list[_Ended], parent_id: int
) -> None:
    connection.execute(
        "insert into cw_sync.history"
        " (tenant, entity, record_id, parent_id, column_name, value, valid_from, valid_to)"
        " select %(tenant)s, %(entity)s, e.record_id, %(parent)s, e.column_name, e.value,"
        " past.valid_to, greatest(e.at, past.valid_to)"
        " from unnest(%(ids)s::bigint[], %(columns)s::text[], %(values)s::text[],"
        " %(ends)s::timestamptz[]) as e (record_id, column_name, value, at)"
        " left join lateral (select h.valid_to from cw_sync.history h"
        " where h.tenant = %(tenant)s and h.entity = %(entity)s and h.record_id = e.record_id"
        " and h.column_name = e.column_name and h.parent_id = %(parent)s"
        " order by h.valid_to desc limit 1) past on true",
        {
            "tenant": tenant,
            "entity": entity.name,
            "parent": parent_id,
            "ids": [one.record_id for one in ended],
            "columns": [one.column for one in ended],
            "values": [one.value for one in ended],
            "ends": [one.at for one in ended],
        },
    )
