"""The columns of the tenant's reports as they were last seen, and the history of their changes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.model import ReportColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection

    from cw_pipeline.model import ReportDrift
    from cw_pipeline.warehouse.warehouse import Warehouse

TABLE = "report_columns"

_CREATE = """
create table if not exists {table} (
    report      text        not null,
    "column"    text        not null,
    type        text        not null,
    nullable    boolean,
    position    bigint      not null,
    first_seen  timestamptz not null default now(),
    last_seen   timestamptz not null default now(),
    _synced_at  timestamptz not null default now(),
    _deleted_at timestamptz,
    primary key (report, "column")
)
"""
_WRITE = """
insert into {table} as kept (report, "column", type, nullable, position)
values (%s, %s, %s, %s, %s)
on conflict (report, "column") do update set type = excluded.type, nullable = excluded.nullable,
    position = excluded.position, last_seen = now(), _synced_at = now(), _deleted_at = null
"""
_REMOVE = """
update {table} set _deleted_at = now(), _synced_at = now()
where report = %s and "column" = %s and _deleted_at is null
"""
_COMMENT = "Columns of the tenant's reports, as the reporting API declares them"


class ReportColumnStore:
    """What is kept of the reports, inside one transaction. Made by `report_store`."""

    def __init__(self, connection: Connection[Any], tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant
        self._table = sql.Identifier(tenant, TABLE)

    def known(self) -> list[ReportColumn]:
        """The columns as they were last seen, without those that are gone."""
        query = (
            'select report, "column", type, nullable, position from {table}'
            " where _deleted_at is null order by report, position"
        )
        return [ReportColumn(*row) for row in self._connection.execute(self._said(query))]

    def write(self, columns: Sequence[ReportColumn]) -> None:
        """Stores columns as they are now."""
        rows = [(c.report, c.column, c.type, c.nullable, c.position) for c in columns]
        with self._connection.cursor() as cursor:
            cursor.executemany(self._said(_WRITE), rows)

    def remove(self, columns: Sequence[ReportColumn]) -> None:
        """Soft-deletes columns that are gone."""
        with self._connection.cursor() as cursor:
            cursor.executemany(self._said(_REMOVE), [(c.report, c.column) for c in columns])

    def note(self, drift: Sequence[ReportDrift]) -> None:
        """Adds to the history of changes."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                'insert into cw_sync.report_drift (tenant, report, "column", change, was, now)'
                " values (%s, %s, %s, %s, %s, %s)",
                [(self._tenant, d.report, d.column, d.change, d.was, d.now) for d in drift],
            )

    def create(self) -> None:
        """Makes the table if there is none, and keeps other snapshots out until the end."""
        self._connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 2))", [f"{self._tenant}/{TABLE}"]
        )
        self._connection.execute(self._said(_CREATE))
        comment = sql.SQL("comment on table {} is {}").format(self._table, sql.Literal(_COMMENT))
        self._connection.execute(comment)

    def _said(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(table=self._table)


@contextmanager
def report_store(warehouse: Warehouse) -> Iterator[ReportColumnStore]:
    """The store, in a transaction that a failure of the block undoes."""
    with warehouse.transaction() as connection:
        store = ReportColumnStore(connection, warehouse.tenant)
        store.create()
        yield store
