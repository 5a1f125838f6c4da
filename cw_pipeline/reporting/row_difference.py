"""Writing only the rows of a reporting table that differ from what was computed anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.reporting.database import at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

CHANGED_AT = "changed_at"
"""The column that says when any other one of its row last changed."""


def columns_of(connection: Connection[Any], table: str) -> list[str]:
    """The names of a table's columns, in their order."""
    # Not prepared: after some tables it would be, and each table's columns are others.
    asked = connection.execute(f"table {table} limit 0".encode(), prepare=False)
    return [column.name for column in asked.description or ()]


def write_difference(
    connection: Connection[Any], table: tuple[str, str], keys: Sequence[str]
) -> int:
    """Makes the rows of the changed keys (none: all rows) those of `pg_temp.fresh`: how many moved.

    `table`: its schema and name. The keys are columns of `pg_temp.changed`. A column `changed_at`
    tells no rows apart: a row that is otherwise as it was keeps its own.
    """
    columns = columns_of(connection, "pg_temp.fresh")
    names = [sql.Identifier(name) for name in columns if name != CHANGED_AT]
    stamp = sql.SQL("") if CHANGED_AT not in columns else sql.SQL(", {}")
    same = [sql.SQL("own.{0} = changed.{0}").format(sql.Identifier(name)) for name in keys]
    concerned = (
        sql.SQL("exists (select from pg_temp.changed where {})").format(sql.SQL(" and ").join(same))
        if keys
        else sql.SQL("true")
    )
    parts = {
        "table": sql.Identifier(*table),
        "columns": sql.SQL(", ").join(names),
        "own": sql.SQL(", ").join(sql.SQL("own.{}").format(name) for name in names),
        "fresh": sql.SQL(", ").join(sql.SQL("fresh.{}").format(name) for name in names),
        "concerned": concerned,
        "changed_at": stamp.format(sql.Identifier(CHANGED_AT)),
        "now": stamp.format(sql.SQL("now()")),
    }
    # In tables of their own, which are analyzed: hashes in a condition have no statistics, and a
    # nested loop over them would take minutes for some thousand rows.
    at_once(
        connection,
        [
            sql.SQL(
                "create temp table stored_hash on commit drop as select own.ctid as at,"
                " hash_record_extended(row({own}), 0) as hash from {table} own where {concerned}"
            ).format(**parts),
            sql.SQL(
                "create temp table fresh_hash on commit drop as"
                " select hash_record_extended(row({fresh}), 0) as hash from pg_temp.fresh"
            ).format(**parts),
            sql.SQL("analyze pg_temp.stored_hash, pg_temp.fresh_hash"),
        ],
    )
    gone = connection.execute(
        sql.SQL(
            "delete from {table} own using pg_temp.stored_hash s where own.ctid = s.at"
            " and not exists (select from pg_temp.fresh_hash f where f.hash = s.hash)"
        ).format(**parts)
    ).rowcount
    new = connection.execute(
        sql.SQL(
            "insert into {table} ({columns}{changed_at}) select *{now} from (select {columns}"
            " from pg_temp.fresh except all select {own} from {table} own where {concerned}) q"
        ).format(**parts)
    ).rowcount
    return max(gone, new)
