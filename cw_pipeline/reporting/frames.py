"""Tables and views as pandas DataFrames, with the types that they have in Postgres.

frame = table(dsn, "kpi_service_daily")                     # the reporting schema
frame = table(dsn, "connectwise.service_tickets")           # any other
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.suggest import closest, did_you_mean
from cw_pipeline.warehouse.connections import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

_DTYPES = {
    "bool": "boolean",
    "int2": "Int64",
    "int4": "Int64",
    "int8": "Int64",
    "float8": "Float64",
    "text": "string",
    "timestamptz": "datetime64[us, UTC]",
    "timestamp": "datetime64[us]",
    "interval": "timedelta64[us]",
}
"""What is not here stays as Python has it: Decimal, date, lists and what JSON holds."""


def table(
    dsn: str,
    name: str,
    where: str = "",
    values: Sequence[Any] = (),
    *,
    columns: Sequence[str] = (),
    schemas: Sequence[str] = ("reporting",),
) -> pd.DataFrame:
    """The rows of a table or view; nothing is guessed and nothing is rounded.

    Whole numbers are Int64 and never become floats beside nulls; numeric is Decimal and date is
    `date`, both as objects; timestamps are in UTC. `where` is SQL with `%s` for `values`, `columns`
    are those to read, in this order; else all. A name without a schema is looked for in `schemas`,
    the first one first. Raises WarehouseError if there is no such table or column, with the name
    that may be meant, or if the warehouse cannot be reached.
    """
    with transaction(dsn, read_only=True) as connection:
        place = sql.Identifier(*_schema_and_name(connection, name, schemas))
        _check_columns(connection, name, place, columns)
        wanted = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
        query = sql.SQL("select {} from {}").format(wanted, place)
        if where:
            query += sql.SQL(" where ") + sql.SQL(where)
        try:
            cursor = connection.execute(query, list(values) or None, binary=True)
        except (errors.UndefinedColumn, errors.SyntaxError) as error:
            raise WarehouseError(f"where={where!r}: {error.diag.message_primary}") from error
        types = connection.adapters.types
        described = [(c.name, types[c.type_code].name) for c in cursor.description or ()]
        return _frame(described, cursor.fetchall())


def _check_columns(
    connection: Connection[Any], name: str, place: sql.Identifier, columns: Sequence[str]
) -> None:
    """Raises WarehouseError for a column that is not there, with the one that may be meant."""
    if not columns:
        return
    nothing = connection.execute(sql.SQL("select * from {} limit 0").format(place))
    there = [column.name for column in nothing.description or ()]
    for column in columns:
        if column not in there:
            hint = did_you_mean(closest(column, there)) or f"it has {', '.join(there)}"
            raise WarehouseError(f"{name!r} has no column {column!r}: {hint}")


def _schema_and_name(
    connection: Connection[Any], name: str, schemas: Sequence[str]
) -> tuple[str, str]:
    """The schema and the own name of what a name means. Raises WarehouseError for no table."""
    schema, _, own = name.rpartition(".")
    places = [schema] if schema else list(schemas)
    rows = connection.execute(
        "select relname, nspname from pg_class join pg_namespace n on n.oid = relnamespace"
        " where nspname = any(%s) and relkind = any('{r,v,m,p,f}')"
        " order by array_position(%s, nspname::text) desc",
        [places, places],
    ).fetchall()
    by_name = dict(rows)  # the first schema comes last, and counts
    if own in by_name:
        return by_name[own], own
    prefix = f"{schema}." if schema else ""
    near = [f"{prefix}{each}" for each in closest(own, by_name, limit=3)]
    made = did_you_mean(near) or "`migrate` makes the reporting schema, `sync` the tables"
    raise WarehouseError(f"there is no table or view {name!r} in {', '.join(places)}: {made}")


def _frame(columns: list[tuple[str, str]], rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
    made = {
        name: _series(list(values), kind)
        for (name, kind), values in zip(columns, by_column, strict=True)
    }
    return pd.DataFrame(made, columns=[name for name, _ in columns])


def _series(values: list[Any], kind: str) -> pd.Series[Any]:
    return pd.Series(values, dtype=_DTYPES.get(kind, "object"))
