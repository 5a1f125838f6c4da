"""Columns that are hashed or dropped: which, since when, and what was stored before that."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql

from cw_pipeline.errors import WarehouseLocked
from cw_pipeline.warehouse.history import forget_column

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from psycopg import Connection

    from cw_pipeline.model import Entity
    from cw_pipeline.transform.mask import MaskingRules
    from cw_pipeline.warehouse import Database


ColumnRef: TypeAlias = tuple[str, str]
Hide: TypeAlias = "Callable[[str], str]"
"""From JSON text to what may be stored in its place."""

_TOLD = {
    "hashed": "Hashed (HMAC-SHA256) before it is stored",
    "dropped": "Never stored: CW_DROP_COLUMNS",
}
_HASH = "^[0-9a-f]{64}$"  # hidden already
# The tables and views that read an entity, or others that do. Their locks are those of
# `reporting.tables`, in the order in which `publish` takes them, or each may wait for the other.
_REPORTS_OF = sql.SQL("""
with recursive due as (
    select name, is_table from cw_sync.publication
    where tenant = %(tenant)s and %(entity)s = any(entities)
    union
    select p.name, p.is_table from cw_sync.publication p join due on due.name = any(p.tables)
    where p.tenant = %(tenant)s
)
""")


def private_columns(connection: Connection[Any], tenant: str) -> dict[ColumnRef, str]:
    """How each private column is kept, by table and column."""
    rows = connection.execute(
        "select table_name, column_name, how from cw_sync.private_column where tenant = %s",
        [tenant],
    )
    return {(table, column): how for table, column, how in rows}


class StoredRowMasker:
    """Makes private what is stored already, in one transaction."""

    def __init__(self, connection: Connection[Any], tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant

    def record(self, wanted: Mapping[ColumnRef, str], before: Mapping[ColumnRef, str]) -> None:
        """Stores which columns are private from now on, and says so in their comments."""
        for table, column in before.keys() - wanted.keys():
            self._connection.execute(
                "delete from cw_sync.private_column"
                " where tenant = %s and table_name = %s and column_name = %s",
                [self._tenant, table, column],
            )
            self._comment(table, column, None)
        for (table, column), how in wanted.items() - before.items():
            self._connection.execute(
                # Not now(): the transaction may have waited for an `as_of`, which was before it.
                "insert into cw_sync.private_column (tenant, table_name, column_name, how, since)"
                " values (%s, %s, %s, %s, clock_timestamp())"
                " on conflict (tenant, table_name, column_name)"
                " do update set how = excluded.how, since = excluded.since",
                [self._tenant, table, column, how],
            )
            self._comment(table, column, _TOLD[how])

    def drop(self, place: ColumnRef, entity: str) -> None:
        """Empties a column, and what history kept of it."""
        column = sql.Identifier(place[1])
        self._connection.execute(
            sql.SQL("update {} set {} = null where {} is not null").format(
                self._table(place[0]), column, column
            )
        )
        forget_column(self._connection, (self._tenant, place[0]), entity, place[1])

    def hash(self, place: ColumnRef, entity: str, hide: Hide) -> None:
        """Replaces a column's values by what `hide` makes of them."""
        column, table = sql.Identifier(place[1]), self._table(place[0])
        rows = self._connection.execute(
            sql.SQL(
                "select distinct to_jsonb({0})::text from {1}"
                " where to_jsonb({0}) #>> '{{}}' not in ('') and to_jsonb({0}) #>> '{{}}' !~ %s"
            ).format(column, table),
            [_HASH],
        ).fetchall()
        self._connection.execute("create temp table clear (was jsonb, hidden text) on commit drop")
        with self._connection.cursor() as cursor, cursor.copy("copy clear from stdin") as stream:
            for (text,) in rows:
                stream.write_row((text, hide(text)))
        kind = sql.SQL("to_jsonb(hidden)") if self._is_json(place) else sql.SQL("hidden")
        self._connection.execute(
            sql.SQL("update {1} set {0} = {2} from clear where to_jsonb({0}) = was").format(
                column, table, kind
            )
        )
        self._connection.execute("drop table clear")
        forget_column(self._connection, (self._tenant, place[0]), entity, place[1])

    def lock_reports(self, entity: str) -> None:
        """Keeps refreshes and `as_of` out until the transaction ends, of what shows an entity.

        One that runs has read clear rows, and is waited for. Call it first: `publish`, which holds
        the same locks, waits for those of rows.
        """
        self._connection.execute(
            _REPORTS_OF
            + sql.SQL(
                "select pg_advisory_xact_lock(hashtextextended(%(tenant)s || '/' || name, 2))"
                ' from (select name from due where is_table order by name collate "C") as ordered'
            ),
            {"tenant": self._tenant, "entity": entity},
        )
        # So is a call of `as_of`, and one that comes later waits.
        self._connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s || '/as of', 2))", [self._tenant]
        )

    def empty_report_marks(self, entity: str) -> None:
        """Has them be filled anew, also those that were published meanwhile.

        Call it last: `publish` updates the marks' rows, and holds locks of the entity's tables.
        """
        self._connection.execute(
            _REPORTS_OF
            + sql.SQL(
                "update cw_sync.publication set changed_through = null"
                " where tenant = %(tenant)s and is_table and name in (select name from due)"
            ),
            {"tenant": self._tenant, "entity": entity},
        )

    def rewrite_extra(self, table: str, hide: Hide) -> None:
        """Replaces what `_extra` holds by what `hide` makes of it."""
        rows = self._connection.execute(
            sql.SQL("select ctid::text, _extra::text from {} where _extra is not null").format(
                self._table(table)
            )
        ).fetchall()
        query = sql.SQL(
            "update {} set _extra = nullif(%(new)s::jsonb, '{{}}')"
            " where ctid = %(at)s::tid and _extra <> %(new)s::jsonb"
        )
        with self._connection.cursor() as cursor:
            cursor.executemany(
                query.format(self._table(table)),
                [{"new": hide(text), "at": at} for at, text in rows],
            )

    def rewrite_letters(self, entity: str, hide: Hide) -> None:
        """Replaces the records in dead letters, and blanks details, which may quote them."""
        rows = self._connection.execute(
            "select id, payload::text from cw_sync.dead_letter where tenant = %s and entity = %s",
            [self._tenant, entity],
        ).fetchall()
        hidden = [(text and hide(text), row_id) for row_id, text in rows]
        with self._connection.cursor() as cursor:
            cursor.executemany(
                "update cw_sync.dead_letter set payload = %s::jsonb, detail = '' where id = %s",
                hidden,
            )
            cursor.executemany(
                "update cw_sync.dead_letter_event set detail = '' where letter_id = %s",
                [(row_id,) for _, row_id in hidden],
            )
        self._connection.execute(
            "update cw_sync.column_drift set sample = '' where tenant = %s and entity = %s",
            [self._tenant, entity],
        )

    def _comment(self, table: str, column: str, text: str | None) -> None:
        row = self._connection.execute(
            "select 1 from pg_attribute where attrelid = to_regclass(%s) and attname = %s",
            [self._table(table).as_string(self._connection), column],
        ).fetchone()
        if row:
            self._connection.execute(
                sql.SQL("comment on column {} is {}").format(
                    sql.Identifier(self._tenant, table, column), sql.Literal(text)
                )
            )

    def _is_json(self, place: ColumnRef) -> bool:
        row = self._connection.execute(
            "select atttypid = 'jsonb'::regtype from pg_attribute"
            " where attrelid = to_regclass(%s) and attname = %s",
            [self._table(place[0]).as_string(self._connection), place[1]],
        ).fetchone()
        return bool(row and row[0])

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._tenant, name)


log = logging.getLogger(__name__)


def mask_stored_rows(
    database: Database,
    entities: Iterable[Entity],
    privacy: MaskingRules | None,
    known: Mapping[ColumnRef, str] | None = None,
) -> None:
    """Hashes and drops what was stored before it was private, once, and notes what is private.

    What is no longer private comes back as its records are read again. An entity whose table
    somebody keeps locked is not synced this time, see `Database.locked`. `known` is what
    `private_columns` says, if it was read already. Raises WarehouseError.
    """
    if known is None:
        with database.connection() as connection:
            known = private_columns(connection, database.schema)
    if privacy is None and not known:
        return
    for entity in entities:
        tables = {entity.table, *(array.table for array in entity.arrays)}
        before = {place: how for place, how in known.items() if place[0] in tables}
        wanted = _wanted_masks(entity, privacy)
        if before == wanted:
            continue
        try:
            _hide(database, entity, (before, wanted), privacy)
        except WarehouseLocked as error:
            log.warning("%s: what is stored could not be made private: %s", entity.name, error)
            database.locked[entity.name] = error


def _wanted_masks(entity: Entity, privacy: MaskingRules | None) -> dict[ColumnRef, str]:
    """The private columns, and the patterns, which may mean fields that have none yet."""
    if privacy is None:
        return {}
    patterns = {(entity.table, p.column): str(p.how) for p in privacy.about(entity)}
    return {**patterns, **privacy.columns(entity)}


def _hide(
    database: Database,
    entity: Entity,
    change: tuple[dict[ColumnRef, str], dict[ColumnRef, str]],
    privacy: MaskingRules | None,
) -> None:
    before, wanted = change
    mask = privacy.mask_of(entity) if privacy else None
    columns = privacy.columns(entity) if privacy else {}
    with database.transaction() as connection:
        hiding = StoredRowMasker(connection, database.schema)
        if mask is None or not wanted.items() - before.items():
            hiding.record(wanted, before)
            return
        hiding.lock_reports(entity.name)
        hiding.record(wanted, before)
        for place, how in columns.items() - before.items():
            if how == "dropped":
                hiding.drop(place, entity.name)
            else:
                hiding.hash(place, entity.name, mask.value)
        for table in (entity.table, *(array.table for array in entity.arrays)):
            hiding.rewrite_extra(table, partial(mask.part, table))
        hiding.rewrite_letters(entity.name, partial(mask.part, entity.table))
        hiding.empty_report_marks(entity.name)
