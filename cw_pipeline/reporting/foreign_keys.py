"""Whether every key of a fact has its row in the dimension, so that an inner join loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import reporting_schema, scripts

if TYPE_CHECKING:
    from psycopg import Connection

_ALSO = {"owner_id": "dim_member"}  # keys that are not named for their dimension
OPTIONAL = frozenset({"dim_ticket", "dim_invoice", "dim_opportunity"})
"""A fact that names none of these has an empty key: they are joined outer, and not counted here."""
_DATE = "_date_id"
_RAW = "_all"  # tables that views stand on; those are what is joined


def keys(fact: str) -> dict[str, str]:
    """The dimension of each key of a fact that every row has."""
    return {column: dim for column, dim in all_keys(fact).items() if dim not in OPTIONAL}


def all_keys(fact: str) -> dict[str, str]:
    """The dimension of each key of a fact, those too that may be empty."""
    by_name = {script.name: script for script in scripts()}
    described = {
        name: table
        for name, table in by_name.items()
        if name.startswith("dim_") and not name.endswith(_RAW) and table.columns
    }
    dims = {next(iter(table.columns)): name for name, table in described.items()}
    dims |= _ALSO
    found = {}
    for column in by_name[fact].columns:
        dim = "dim_date" if column.endswith(_DATE) else dims.get(column)
        if dim is not None:
            found[column] = dim
    return found


def facts() -> list[str]:
    """The facts whose keys are those of dimensions."""
    names = [script.name for script in scripts() if script.name.startswith("fct_")]
    return sorted(name for name in names if not name.endswith(_RAW) and keys(name))


def missing_dimension_rows(dsn: str, tenant: str, fact: str) -> dict[str, int]:
    """How many rows of a fact have a key without a row in its dimension, by key. None: empty."""
    with transaction(dsn) as connection:
        counted = {column: _count(connection, tenant, fact, column) for column in keys(fact)}
    return {column: count for column, count in counted.items() if count}


def _count(connection: Connection[Any], tenant: str, fact: str, column: str) -> int:
    dim = keys(fact)[column]
    key = "date_id" if dim == "dim_date" else _own_key(dim)
    schema = reporting_schema(tenant)
    query = sql.SQL(
        "select count(*) from {} f where not exists (select from {} d where d.{} = f.{})"
    ).format(
        sql.Identifier(schema, fact),
        sql.Identifier(schema, dim),
        sql.Identifier(key),
        sql.Identifier(column),
    )
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _own_key(dim: str) -> str:
    return next(iter(next(script for script in scripts() if script.name == dim).columns))
