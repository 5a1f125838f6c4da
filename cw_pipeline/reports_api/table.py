"""The table of one report: made as its columns are, filled by what differs.

What is being read is staged in a table of the run's own, `cw_sync.staged_<run_id>`, until all of it
is there: minutes of many transactions, each of which may meet another session of the server.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.model import Column, Entity, Kind
from cw_pipeline.warehouse.columns import add_column, kind_of, widen_column
from cw_pipeline.warehouse.ddl import patiently
from cw_pipeline.warehouse.merge import copy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Row
    from cw_pipeline.warehouse.database import Database
    from cw_pipeline.warehouse.ddl import Attempt

log = logging.getLogger(__name__)

_EXTRA = Column("_extra", (), Kind.JSONB)
_CREATE = """
create table if not exists {table} (
    _row_hash bigint not null, _extra jsonb, _synced_at timestamptz not null default now()
)
"""
# Rows are told apart by what they hold; of equal ones by how many there are. A report may call its
# columns anything: a bare name of ours must be none of theirs (`api._SYSTEM`).
_MERGE = """
with old as (
    select ctid as at, _row_hash, row_number() over (partition by _row_hash) as _twin
    from {table} where {concerned}
), new as (
    select s.*, row_number() over (partition by _row_hash) as _twin
    from (select {columns}, hashtextextended(_staged::text, 0) as _row_hash from {staged} _staged) s
), gone as (
    delete from {table} t using old where t.ctid = old.at and not exists
        (select from new where new._row_hash = old._row_hash and new._twin = old._twin)
    returning {key} as key
), added as (
    insert into {table} ({columns}, _row_hash)
    select {columns}, _row_hash from new where not exists
        (select from old where new._row_hash = old._row_hash and new._twin = old._twin)
    returning {key} as key
)
select (select count(*) from added), (select count(*) from gone),
    (select count(*) from added where key in (select key from gone))
"""
# A run that was killed leaves its table; whoever took its lease over has changed the token.
_LEFT_BEHIND = """
select c.relname from pg_class c
where c.relnamespace = 'cw_sync'::regnamespace and c.relname ~ '^staged_[0-9]+$'
    and pg_has_role(c.relowner, 'usage')
    and not exists (
        select from cw_sync.lease l where c.relname = 'staged_' || l.run_id
    )
"""


@dataclass(frozen=True, slots=True)
class ReportState:
    """What is known of a report: its key column, and when it was last read whole."""

    key: str | None = None
    read_whole_at: datetime | None = None


class ReportTable:
    """One report's table, and a place beside it for what is being read. Made by `report_table`.

    Whatever writes raises EntityBusy, and writes nothing, once another run has the report's lease.
    """

    def __init__(self, database: Database, report: str, run_id: int) -> None:
        self._database = database
        self._tenant = database.schema
        self._report = report
        self._run_id = run_id
        self._place = ("cw_sync", f"staged_{run_id}")
        self._staged = sql.Identifier(*self._place)
        self._staged_rows = 0

    def state(self) -> ReportState:
        """What the last whole read found."""
        with self._database.connection() as connection:
            row = connection.execute(
                "select key_column, read_whole_at from cw_sync.report_table"
                " where tenant = %s and report = %s",
                [self._tenant, self._report],
            ).fetchone()
        return ReportState(*row) if row else ReportState()

    def fit(self, entity: Entity) -> Entity:
        """Makes the table have the entity's columns: the entity with the kinds they have there.

        A column that was retyped becomes text, which holds both. Who reads the table meanwhile does
        not wait for us, see `ddl`.
        """
        what = f"bringing {self._tenant}.{entity.table} up to date"
        return patiently(partial(self._fit, entity), self._database.connection, what)

    def _fit(self, entity: Entity, attempt: Attempt) -> Entity:
        table = (self._tenant, entity.table)
        columns = []
        with self._database.transaction(self._run_id) as connection, attempt.brief(connection):
            connection.execute(_query(_CREATE, table=sql.Identifier(*table)))
            for column in entity.columns:
                stored = kind_of(connection, table, column.name)
                if stored is None:
                    add_column(connection, table, column.name, column.kind)
                elif stored is not column.kind:
                    column = replace(column, kind=Kind.TEXT)  # noqa: PLW2901
                    widen_column(connection, table, column.name, Kind.TEXT)
                columns.append(column)
            comment = sql.SQL("comment on table {} is {}").format(
                sql.Identifier(*table), sql.Literal(entity.description)
            )
            connection.execute(comment)
        return replace(entity, columns=tuple(columns))

    def clear(self, entity: Entity) -> None:
        """Makes room for rows that are being read."""
        self._staged_rows = 0
        with self._database.transaction(self._run_id) as connection:
            connection.execute(_query("drop table if exists {staged}", staged=self._staged))
            connection.execute(
                _query(
                    "create unlogged table {staged} as select {columns} from {table} limit 0",
                    staged=self._staged,
                    columns=_names(entity),
                    table=sql.Identifier(self._tenant, entity.table),
                )
            )

    def stage(self, entity: Entity, rows: Sequence[Row]) -> None:
        """Puts rows beside the table: the columns' values, and `_extra`."""
        with self._database.transaction(self._run_id) as connection:
            copy(connection, *self._place, (*entity.columns, _EXTRA), rows)
        self._staged_rows += len(rows)

    def tells_apart(self, column: str) -> bool:
        """Whether each staged row has a value of its own there."""
        query = "select count(*) = count(distinct {own}) from {staged}"
        with self._database.connection() as connection:
            row = connection.execute(
                _query(query, own=sql.Identifier(column), staged=self._staged)
            ).fetchone()
        return bool(row and row[0])

    def rows(self, entity: Entity) -> tuple[int, int]:
        """How many rows the table has, and how many are staged.

        Raises WarehouseError if the server was restarted by force since, which empties unlogged
        tables: what is left of the report must not pass for the whole of it.
        """
        with self._database.connection() as connection:
            row = connection.execute(
                _query(
                    "select (select count(*) from {table}), (select count(*) from {staged})",
                    table=sql.Identifier(self._tenant, entity.table),
                    staged=self._staged,
                )
            ).fetchone()
        there, staged = row or (0, 0)
        if staged != self._staged_rows:
            raise WarehouseError(
                f"{self._report}: of {self._staged_rows} rows read {staged} are left, as after a"
                " crash of the server: sync it again"
            )
        return there, staged

    def merge(self, entity: Entity, key: str | None, *, whole: bool) -> tuple[int, int, int]:
        """Makes the table what is staged: rows added, rows gone, and how many of both are one.

        Not `whole`: only rows with the staged keys are replaced.
        """
        concerned: sql.Composable = sql.SQL("true")
        key_value: sql.Composable = sql.SQL("null::numeric")
        if key is not None:
            key_value = sql.Identifier(key)
        if not whole:
            concerned = sql.SQL("{} in (select {} from {})").format(
                key_value, key_value, self._staged
            )
        with self._database.transaction(self._run_id) as connection:
            row = connection.execute(
                _query(
                    _MERGE,
                    table=sql.Identifier(self._tenant, entity.table),
                    columns=_names(entity),
                    staged=self._staged,
                    concerned=concerned,
                    key=key_value,
                )
            ).fetchone()
            if whole:
                self._remember(connection, key)
        added, gone, both = row or (0, 0, 0)
        return added, gone, both

    def drop_staged(self) -> None:
        """Ends what was being read."""
        _drop(self._database, self._staged)

    def _remember(self, connection: Connection[Any], key: str | None) -> None:
        connection.execute(
            "insert into cw_sync.report_table (tenant, report, key_column, read_whole_at)"
            " values (%s, %s, %s, now()) on conflict (tenant, report) do update set"
            " key_column = excluded.key_column, read_whole_at = excluded.read_whole_at",
            [self._tenant, self._report, key],
        )


@contextmanager
def report_table(database: Database, report: str, run_id: int) -> Iterator[ReportTable]:
    """A report's table, for the run that has its lease."""
    _drop_left_behind(database)
    table = ReportTable(database, report, run_id)
    try:
        yield table
    finally:
        try:
            table.drop_staged()
        except WarehouseError as error:
            log.warning("%s: its staged rows are left to the next run: %s", report, error)


def _drop_left_behind(database: Database) -> None:
    """Drops what runs staged whose leases are gone."""
    with database.connection() as connection:
        names = [row[0] for row in connection.execute(_LEFT_BEHIND)]
    for name in names:
        _drop(database, sql.Identifier("cw_sync", name))


def _drop(database: Database, staged: sql.Identifier) -> None:
    with database.connection() as connection:
        connection.execute(_query("drop table if exists {staged}", staged=staged))


def _names(entity: Entity) -> sql.Composed:
    names = [*(column.name for column in entity.columns), "_extra"]
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _query(query: str, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(query).format(**parts)
