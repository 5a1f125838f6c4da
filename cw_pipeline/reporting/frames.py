"""Tables and views as pandas DataFrames, with the types that they have in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from cw_pipeline.warehouse.connections import transaction

if TYPE_CHECKING:
    from cw_pipeline.reporting.selection import Selection

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


def frame(dsn: str, selection: Selection) -> pd.DataFrame:
    """The rows of a table or view; nothing is guessed and nothing is rounded.

    Whole numbers are Int64 and never become floats beside nulls; numeric is Decimal and date is
    `date`, both as objects; timestamps are in UTC. Raises WarehouseError if there is no such table
    or column, with the name that may be meant, or if the warehouse cannot be reached.
    """
    with transaction(dsn, read_only=True) as connection, connection.cursor() as cursor:
        columns = selection.ask(cursor)
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
