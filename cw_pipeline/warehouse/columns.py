"""Giving a column of a table that holds data a wider type, and the views on it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.model import Column, Kind
from cw_pipeline.warehouse.ddl.dependents import dependents, put_back, refuse_strangers, take_down

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from cw_pipeline.warehouse.ddl.dependents import Dependent


_UTC = "(to_jsonb({c} at time zone 'UTC') #>> '{{}}') || 'Z'"
_WIDER: Mapping[tuple[Kind, Kind], str] = {
    (Kind.BIGINT, Kind.NUMERIC): "{c}::numeric",
    (Kind.BIGINT, Kind.TEXT): "{c}::text",
    (Kind.NUMERIC, Kind.TEXT): "{c}::text",
    (Kind.BOOLEAN, Kind.TEXT): "{c}::text",
    (Kind.DATE, Kind.TEXT): "to_char({c}, 'YYYY-MM-DD')",
    (Kind.DATE, Kind.TIMESTAMPTZ): "{c}::timestamp at time zone 'UTC'",
    (Kind.TIMESTAMPTZ, Kind.TEXT): _UTC,
    **{(kind, Kind.JSONB): "to_jsonb({c})" for kind in Kind if kind is not Kind.JSONB},
}
"""How a value becomes one of a wider kind. What is not here would lose something."""


def widen_column(
    connection: Connection[Any], table: tuple[str, str], column: str, to: Kind
) -> None:
    """Gives the column of `table` (schema, name) the kind `to`, in place; views on it stay.

    Raises WarehouseError if a value could be lost by it, or if one of the views belongs to somebody
    whose views we may not make again.
    """
    was = kind_of(connection, table, column)
    if was is to:
        return
    if was is None or (was, to) not in _WIDER:
        raise WarehouseError(
            f"{'.'.join(table)}.{column} is {was or 'of another type'}, and {to} is wanted, which"
            " cannot hold all of that: nothing was changed. Alter the column by hand once its"
            f" values allow it (alter table {'.'.join(table)} alter {column} type {to} using …),"
            " or point CW_SCHEMA at a new schema"
        )
    whole = sql.Identifier(*table)
    name = sql.Identifier(column)
    views = _standing_on(connection, whole, column)
    refuse_strangers(views, f"{'.'.join(table)}.{column} is {was}, and {to} is wanted")
    saved = take_down(connection, views)
    connection.execute(
        sql.SQL("alter table {} alter {} type {} using {}").format(
            whole,
            name,
            sql.SQL(to.value),
            sql.SQL(_WIDER[was, to]).format(c=name),
        )
    )
    put_back(connection, saved)


def _standing_on(
    connection: Connection[Any], table: sql.Identifier, column: str
) -> list[Dependent]:
    row = connection.execute(
        "select to_regclass(%s)::oid", [table.as_string(connection)]
    ).fetchone()
    assert row is not None
    return dependents(connection, [row[0]], [column])


def kind_of(connection: Connection[Any], table: tuple[str, str], column: str) -> Kind | None:
    """The kind a column is stored as; None if it has another type, or is not there."""
    row = connection.execute(
        "select format_type(atttypid, null) from pg_attribute where attrelid = to_regclass(%s)"
        " and attname = %s and not attisdropped",
        [sql.Identifier(*table).as_string(connection), column],
    ).fetchone()
    spelled = {"timestamp with time zone": "timestamptz"}.get(row[0], row[0]) if row else ""
    return next((kind for kind in Kind if kind == spelled), None)


def add_column(
    connection: Connection[Any], table: tuple[str, str], column: str, kind: Kind
) -> None:
    """Adds a column that is not there yet."""
    connection.execute(
        sql.SQL("alter table {} add {} {}").format(
            sql.Identifier(*table),
            sql.Identifier(column),
            sql.SQL(kind.value),
        )
    )


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


def move_from_extra(
    connection: Connection[Any],
    tenant: str,
    table: str,
    column: Column,
    *,
    only_empty: bool = False,
) -> int:
    """Moves a field's stored values into its column, as far as they fit: how many rows got one.

    What the column cannot hold, or not in full, stays where it is; with `only_empty` also what
    would replace a value.
    """
    moved = sql.SQL("cw_sync.is_day(v)") if column.kind is Kind.DATE else sql.SQL("true")
    query = sql.SQL(
        "update {table} set {column} = f.typed,"
        " _extra = case when f.moved then {less} else {table}._extra end"
        " from (select ctid as at, {typed} as typed, {moved} as moved"
        " from (select ctid, _extra #> %(path)s as v from {table}) a where v is not null) f"
        " where {table}.ctid = f.at and f.typed is not null{empty}"
    ).format(
        empty=sql.SQL(" and {} is null").format(sql.Identifier(table, column.name))
        if only_empty
        else sql.SQL(""),
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
