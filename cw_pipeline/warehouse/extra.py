"""Values of fields that the catalog did not know, moved out of `_extra` into their column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.model import Column, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

TYPED: Mapping[Kind, sql.SQL] = {
    Kind.BIGINT: sql.SQL("cw_sync.to_bigint(v)"),
    Kind.NUMERIC: sql.SQL("cw_sync.to_numeric(v)"),
    Kind.BOOLEAN: sql.SQL("cw_sync.to_boolean(v)"),
    Kind.TIMESTAMPTZ: sql.SQL("cw_sync.to_instant(v)"),
    Kind.DATE: sql.SQL("cw_sync.to_day(v)"),
    Kind.TEXT: sql.SQL("cw_sync.to_scalar_text(v)"),
    Kind.JSONB: sql.SQL("v"),
}
"""The value `v` as each kind; null where it is not one."""


def move_from_extra(connection: Connection[Any], tenant: str, table: str, column: Column) -> int:
    """Moves a field's stored values into its column, as far as they fit: how many rows got one.

    What the column cannot hold, or not in full, stays where it is.
    """
    moved = sql.SQL("cw_sync.is_day(v)") if column.kind is Kind.DATE else sql.SQL("true")
    query = sql.SQL(
        "update {table} set {column} = f.typed,"
        " _extra = case when f.moved then {less} else {table}._extra end"
        " from (select ctid as at, {typed} as typed, {moved} as moved"
        " from (select ctid, _extra #> %(path)s as v from {table}) a where v is not null) f"
        " where {table}.ctid = f.at and f.typed is not null"
    ).format(
        table=sql.Identifier(tenant, table),
        column=sql.Identifier(column.name),
        less=_without(column.path, sql.Identifier(tenant, table, "_extra")),
        typed=TYPED[column.kind],
        moved=moved,
    )
    return connection.execute(query, {"path": list(column.path)}).rowcount


def _without(path: tuple[str, ...], extra: sql.Composable) -> sql.Composable:
    """`_extra` without the field, and without the objects that it leaves empty."""
    left: sql.Composable = sql.SQL("({} #- {})").format(extra, _literal(path))
    for depth in range(len(path) - 1, 0, -1):
        left = sql.SQL("(case when {0} #> {1} = '{{}}' then {0} #- {1} else {0} end)").format(
            left, _literal(path[:depth])
        )
    return sql.SQL("nullif({}, '{{}}')").format(left)


def _literal(path: tuple[str, ...]) -> sql.Composed:
    return sql.SQL("{}::text[]").format(sql.Literal(list(path)))
