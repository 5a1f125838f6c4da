"""Tables and views as pandas DataFrames, with the types that they have in Postgres.

frame = table(dsn, "kpi_service_daily")                     # the reporting schema
frame = table(dsn, "connectwise.service_tickets")           # any other
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.warehouse.connections import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def table(dsn: str, name: str, where: str = "", values: Sequence[Any] = ()) -> pd.DataFrame:
    """The rows of a table or view; nothing is guessed and nothing is rounded.

    Whole numbers are Int64 and never become floats beside nulls; numeric is Decimal and date is
    `date`, both as objects; timestamps are in UTC. `where` is SQL with `%s` for `values`. Raises
    WarehouseError if there is no such table, or the warehouse cannot be reached.
    """
    schema, _, own = name.rpartition(".")
    query = sql.SQL("select * from {}").format(sql.Identifier(schema or "reporting", own))
    if where:
        query += sql.SQL(" where ") + sql.SQL(where)
    with transaction(dsn, read_only=True) as connection:
        try:
            cursor = connection.execute(query, list(values) or None, binary=True)
        except errors.UndefinedTable as error:
            raise WarehouseError(f"there is no table or view {name!r}: run `migrate`") from error
        types = connection.adapters.types
        columns = [(c.name, types[c.type_code].name) for c in cursor.description or ()]
        return _frame(columns, cursor.fetchall())


def _frame(columns: list[tuple[str, str]], rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
    made = {
        name: _series(list(values), kind)
        for (name, kind), values in zip(columns, by_column, strict=True)
    }
    return pd.DataFrame(made, columns=[name for name, _ in columns])


def _series(values: list[Any], kind: str) -> pd.Series[Any]:
    return pd.Series(values, dtype=_DTYPES.get(kind, "object"))
