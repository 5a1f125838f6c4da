"""The ids and stamps a sweep found, and how they differ from the rows."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from cw_pipeline.model import Column, Kind
from cw_pipeline.transform import copy_format
from cw_pipeline.warehouse.merge import copy_packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cw_pipeline.model import Entity
    from cw_pipeline.warehouse.database import Database

_DIFFERENCE = """
select count(s.id),
       count(*) filter (where t.id is not null and t._deleted_at is null),
       array_agg(s.id order by s.id) filter (
           where s.id is not null
             and (t.id is null or t._deleted_at is not null and t.is_older)),
       array_agg(t.id order by t.id) filter (
           where s.id is not null and t._deleted_at is null and t.is_older
             and (s.stamp is not null and s.stamp is distinct from t.stamp or t._row_hash = 0)),
       array_agg(t.id order by t.id) filter (
           where s.id is null and t._deleted_at is null and t.is_older),
       bool_or(s.stamp is not null or t.stamp is not null)
from (select id, max(stamp) as stamp from swept group by id) s
full join (
    select id, {stamp} as stamp, _deleted_at, _row_hash,
        -- What is ahead of the clock was written before that was set back.
        _synced_at not between {began} and clock_timestamp() as is_older
    from {table}
) t on t.id = s.id
"""
"""The shorter side is hashed and the table read once: a scan of wide rows is what takes long."""

_COLUMNS = (Column("id", (), Kind.BIGINT), Column("stamp", (), Kind.TIMESTAMPTZ))


@dataclass(frozen=True, slots=True)
class ListDifference:
    """How list and table differ, by id. Rows written since the sweep began are left out.

    `stamped`: some record of the list, or some row of the table, carries lastUpdated.
    """

    source_rows: int
    warehouse_rows: int
    missing: list[int]
    stale: list[int]
    extra: list[int]
    stamped: bool


class ListSnapshot:
    """One sweep of one entity, from `began` on, on the warehouse's clock: what its pages showed.

    They wait here, a few bytes a record, because a temporary table lives with a connection, which a
    pooler lends for one transaction.
    """

    def __init__(self, database: Database, entity: Entity, began: datetime) -> None:
        self._database = database
        self._table = sql.Identifier(database.schema, entity.table)
        self._stamp = sql.SQL("last_updated" if entity.has_last_updated else "null::timestamptz")
        self._pages: list[bytes] = []
        self._began = began
        self._pack = copy_format.row_packer(_COLUMNS)

    def add(self, ids: Sequence[int], stamps: Sequence[datetime | None]) -> None:
        """Notes what a page showed."""
        rows = bytearray()
        for row in zip(ids, stamps, strict=True):
            self._pack(row, rows)
        self._pages.append(zlib.compress(rows, zlib.Z_BEST_SPEED))

    def difference(self) -> ListDifference:
        """The difference, worked out in the database in one go over the table."""
        with self._database.transaction() as connection:
            connection.execute(
                "create temp table swept (id bigint, stamp timestamptz) on commit drop"
            )
            copy_packed(connection, "pg_temp", "swept", _COLUMNS, map(zlib.decompress, self._pages))
            connection.execute("analyze pg_temp.swept")
            connection.execute("set local work_mem = '64MB'")
            row = connection.execute(self._query(_DIFFERENCE)).fetchone()
        assert row is not None
        listed, live, missing, stale, extra, stamped = row
        return ListDifference(listed, live, missing or [], stale or [], extra or [], bool(stamped))

    def _query(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(
            table=self._table, stamp=self._stamp, began=sql.Literal(self._began)
        )
