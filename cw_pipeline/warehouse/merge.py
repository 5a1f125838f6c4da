"""The merge: newest wins, unchanged rows are not touched, order of arrival never matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from typing_extensions import override

from cw_pipeline.transform import copy_format
from cw_pipeline.warehouse.history import delete_keeping_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Batch, Column, Data, Entity, Row


class JsonBytesDumper(Dumper):
    """Sends jsonb that is JSON text already: psycopg would parse and print it again."""

    format = Format.BINARY
    oid = 3802

    @override
    def dump(self, obj: Any) -> bytes:
        """The wire form."""
        return copy_format.jsonb(bytes(obj))


def copy(
    connection: Connection[Any],
    schema: str,
    table: str,
    columns: Sequence[Column],
    rows: Iterable[Row],
) -> None:
    """Puts rows straight into a table."""
    with connection.cursor() as cursor:
        cursor.adapters.register_dumper(bytes, JsonBytesDumper)
        with cursor.copy(_statement(schema, table, columns)) as stream:
            stream.set_types([copy_format.TYPES[column.kind] for column in columns])
            for row in rows:
                stream.write_row(row)


def copy_packed(
    connection: Connection[Any],
    schema: str,
    table: str,
    columns: Sequence[Column],
    pages: Iterable[Data],
) -> None:
    """The same of pages of rows that are packed already."""
    with connection.cursor() as cursor, cursor.copy(_statement(schema, table, columns)) as stream:
        stream.write(copy_format.HEADER)
        for rows in pages:
            stream.write(rows)
        stream.write(copy_format.TRAILER)


def _statement(schema: str, table: str, columns: Sequence[Column]) -> sql.Composed:
    return sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(schema, table), sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)
    )


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge did with the rows of a batch; the first three sum up to them, but for `refused`.

    `silent_changes` of the updated ones differed although their `lastUpdated` had not moved;
    `undeleted` of them had been deleted. `refused` are the ids of records that Postgres refused.
    """

    inserted: int
    updated: int
    unchanged: int
    silent_changes: int = 0
    undeleted: int = 0
    refused: tuple[int, ...] = ()

    def __add__(self, other: MergeResult) -> MergeResult:
        """What two merges did together."""
        return MergeResult(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.silent_changes + other.silent_changes,
            self.undeleted + other.undeleted,
            self.refused + other.refused,
        )


@dataclass(frozen=True, slots=True)
class _StoredRow:
    row_hash: int
    stamp: datetime | None
    deleted: bool
    synced_at: datetime


def merge(
    connection: Connection[Any],
    tenant: str,
    entity: Entity,
    batch: Batch,
    *,
    parent_id: int | None = None,
    read_after: datetime | None = None,
) -> MergeResult:
    """Merges a batch in the caller's transaction, which holds the entity's merge lock.

    A row replaces a stored one that differs and is not newer. `read_after`: the batch was read
    after this moment of the warehouse's clock, so it replaces what was stored before then even if
    that has a newer stamp: a record restored or imported with an old date.
    """
    newest: dict[int, int] = {}  # a list may return a record twice while it changes
    for at, row_id in enumerate(batch.ids):
        other = newest.setdefault(row_id, at)
        if other != at and not _older(batch.last_updated[at], batch.last_updated[other]):
            newest[row_id] = at
    stored = _stored_rows(connection, tenant, entity, batch, parent_id)
    inserted: list[int] = []
    replaced: list[int] = []
    for at in newest.values():
        if (row_hash := batch.hashes[at]) is None:
            continue  # stored as it is
        before = stored.get(batch.ids[at])
        if before is None:
            inserted.append(at)
        elif _replaces(before, row_hash, batch.last_updated[at], read_after):
            replaced.append(at)
    chosen = sorted(inserted + replaced)
    old = [batch.ids[at] for at in replaced]
    if chosen:
        # Taken out and inserted anew: cheaper than an update, which writes a row too.
        stamps = {batch.ids[at]: batch.last_updated[at] for at in replaced}
        delete_keeping_versions(connection, tenant, entity, stamps, parent_id)
        # Of inserted records too: a row that was taken out by hand leaves its arrays behind.
        _delete_arrays(connection, tenant, entity, [batch.ids[at] for at in chosen])
        _insert(connection, tenant, entity, batch, chosen)
    unchanged = len(batch.ids) - len(inserted) - len(replaced)
    silent_changes = sum(
        _is_silent_change(stored[batch.ids[at]], batch.last_updated[at]) for at in replaced
    )
    undeleted = sum(stored[row_id].deleted for row_id in old)
    return MergeResult(len(inserted), len(replaced), unchanged, silent_changes, undeleted)


def _replaces(
    before: _StoredRow, row_hash: int, stamp: datetime | None, read_after: datetime | None
) -> bool:
    if not before.deleted and before.row_hash == row_hash and before.stamp == stamp:
        return False  # the stamp is in the hash: where they disagree, somebody wrote by hand
    # A deleted row that reappears is one that differs; an older copy of it is only a late answer.
    later = read_after is not None and before.synced_at < read_after
    return later or not _older(stamp, before.stamp)


def _is_silent_change(before: _StoredRow, stamp: datetime | None) -> bool:
    return not before.deleted and stamp is not None and stamp == before.stamp


def _older(stamp: datetime | None, than: datetime | None) -> bool:
    return stamp is not None and than is not None and stamp < than


def _stored_rows(
    connection: Connection[Any],
    tenant: str,
    entity: Entity,
    batch: Batch,
    parent_id: int | None,
) -> dict[int, _StoredRow]:
    stamp = "last_updated" if entity.has_last_updated else None
    query = sql.SQL(
        "select {key}, _row_hash, {stamp}, _deleted_at is not null, _synced_at from {table}"
        " where {key} = any(%s::bigint[])"
    ).format(
        key=sql.Identifier(entity.key[-1]),
        stamp=sql.Identifier(stamp) if stamp else sql.SQL("null"),
        table=sql.Identifier(tenant, entity.table),
    )
    with_rows = (
        stored_id for stored_id, has in zip(batch.ids, batch.hashes, strict=True) if has is not None
    )
    asked: list[Any] = [id_array(with_rows)]
    if parent_id is not None:
        query += sql.SQL(" and parent_id = %s")
        asked.append(parent_id)
    rows = connection.execute(query, asked, binary=True).fetchall()
    return {row_id: _StoredRow(*rest) for row_id, *rest in rows}


def stored_hashes(
    connection: Connection[Any], tenant: str, entity: Entity, ids: Sequence[int]
) -> dict[int, tuple[int, datetime | None]]:
    """Hash as read and stamp of the live rows among these ids."""
    query = sql.SQL(
        "select id, _source_hash # _row_hash, {stamp} from {table}"
        " where id = any(%s::bigint[]) and _source_hash is not null and _deleted_at is null"
    ).format(
        stamp=sql.Identifier("last_updated") if entity.has_last_updated else sql.NULL,
        table=sql.Identifier(tenant, entity.table),
    )
    rows = connection.execute(query, [id_array(ids)], binary=True)
    return {row_id: (source, stamp) for row_id, source, stamp in rows}


def _delete_arrays(
    connection: Connection[Any], tenant: str, entity: Entity, ids: Sequence[int]
) -> None:
    for array in entity.arrays:
        connection.execute(
            sql.SQL("delete from {} where parent_id = any(%s::bigint[])").format(
                sql.Identifier(tenant, array.table)
            ),
            [id_array(ids)],
        )


def id_array(ids: Iterable[int]) -> str:
    """Ids as a `bigint[]` in text: made in a tenth of the time that psycopg takes for a list."""
    return f"{{{','.join(map(str, ids))}}}"


def _insert(
    connection: Connection[Any], tenant: str, entity: Entity, batch: Batch, chosen: Sequence[int]
) -> None:
    main_rows, *arrays = batch.tables
    copy_packed(connection, tenant, entity.table, entity.row_columns, [main_rows.rows_of(chosen)])
    for array, packed in zip(entity.arrays, arrays, strict=True):
        if rows := packed.rows_of(chosen):
            copy_packed(connection, tenant, array.table, array.row_columns, [rows])
