"""The ids and stamps a sweep found, in a temporary table, and how they differ from the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.load.merge import copy
from cw_pipeline.model import Column, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Entity

_COLUMNS = (Column("id", (), Kind.BIGINT), Column("stamp", (), Kind.TIMESTAMPTZ))


@dataclass(frozen=True, slots=True)
class Difference:
    """How list and table differ, by id. Rows written since the sweep began are left out.

    `stamped`: some record of the list, or some row of the table, carries lastUpdated.
    """

    source_rows: int
    warehouse_rows: int
    missing: list[int]
    stale: list[int]
    extra: list[int]
    stamped: bool


class Sweep:
    """One sweep of one entity. Lives on one connection; made by `Warehouse.sweep`."""

    def __init__(self, connection: Connection[Any], tenant: str, entity: Entity) -> None:
        self._connection = connection
        self._table = sql.Identifier(tenant, entity.table)
        stamped = any(column.name == "last_updated" for column in entity.columns)
        self._stamp = sql.SQL("t.last_updated" if stamped else "null::timestamptz")
        connection.execute("create temp table swept (id bigint, stamp timestamptz)")
        row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        self.began: datetime = row[0]

    def add(self, ids: Sequence[int], stamps: Sequence[datetime | None]) -> None:
        """Notes what a page showed."""
        rows = zip(ids, stamps, strict=True)
        copy(self._connection, "pg_temp", "swept", _COLUMNS, rows)

    def difference(self) -> Difference:
        """The difference, worked out in the database."""
        self._connection.execute("create index on swept (id)")
        self._connection.execute("analyze swept")
        return Difference(
            self._number("select count(distinct id) from swept"),
            self._number("select count(*) from {table} t where t._deleted_at is null"),
            self._ids(
                "select distinct s.id from swept s left join {table} t on t.id = s.id"
                " where t.id is null or (t._deleted_at is not null and t._synced_at < {began})"
            ),
            self._ids(
                "select distinct s.id from swept s join {table} t on t.id = s.id"
                " where t._deleted_at is null and t._synced_at < {began}"
                " and s.stamp is not null and s.stamp is distinct from {stamp}"
            ),
            self._ids(
                "select t.id from {table} t where t._deleted_at is null and t._synced_at < {began}"
                " and not exists (select from swept s where s.id = t.id)"
            ),
            bool(
                self._number(
                    "select (exists (select from swept where stamp is not null)"
                    " or exists (select from {table} t where {stamp} is not null))::int"
                )
            ),
        )

    def _number(self, query: str) -> int:
        row = self._connection.execute(self._filled(query)).fetchone()
        assert row is not None
        return int(row[0])

    def _ids(self, query: str) -> list[int]:
        return [row[0] for row in self._connection.execute(self._filled(f"{query} order by 1"))]

    def _filled(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(
            table=self._table, stamp=self._stamp, began=sql.Literal(self.began)
        )
