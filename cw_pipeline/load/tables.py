"""The catalog's tables: created when new, widened when the catalog has grown, never dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from cw_pipeline.catalog import indexes
from cw_pipeline.load.extra import fill
from cw_pipeline.load.promotions import entities_with_promotions
from cw_pipeline.load.retype import retype
from cw_pipeline.model import Column, Entity, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from psycopg import Connection

_TYPES: Mapping[Kind, sa.types.TypeEngine[Any]] = {
    Kind.BIGINT: sa.BigInteger(),
    Kind.NUMERIC: sa.Numeric(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.TIMESTAMPTZ: sa.DateTime(timezone=True),
    Kind.DATE: sa.Date(),
    Kind.TEXT: sa.Text(),
    Kind.JSONB: postgresql.JSONB(),
}
_NAMES = {
    "bigint": "bigint",
    "numeric": "numeric",
    "boolean": "boolean",
    "timestamp with time zone": "timestamptz",
    "date": "date",
    "text": "text",
    "jsonb": "jsonb",
}


def create_tables(connection: sa.Connection, tenant: str, entities: Iterable[Entity]) -> None:
    """Creates what is missing of the entities' tables and adds columns they have gained.

    A column that is new gets its values out of `_extra`, one whose type grew is altered in place.
    Raises WarehouseError if a type can only be had by losing something.
    """
    connection.execute(sa.text(f'create schema if not exists "{tenant}"'))
    existing = _existing(connection, tenant)
    driver: Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    grown = entities_with_promotions(driver, tenant, entities)
    catalog = {(table, column.name): column for table, column in _columns(grown)}
    due = [entity for entity in grown if not _fits(entity, existing)]
    for table in _tables(tenant, due):
        if table.name in existing:
            for name in _widen(connection, table, existing[table.name]):
                if column := catalog.get((table.name, name)):
                    fill(driver, tenant, table.name, column)
        else:
            connection.execute(CreateTable(table))
            for index in table.indexes:
                connection.execute(CreateIndex(index))


def _fits(entity: Entity, existing: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether its tables have all their columns as they should be: nearly always."""
    wanted = {entity.table: entity.row_columns}
    wanted |= {array.table: array.row_columns for array in entity.arrays}
    return (
        all(
            table in existing
            and all(_NAMES.get(existing[table].get(c.name, "")) == c.kind.value for c in columns)
            and "_deleted_at" in existing[table]
            for table, columns in wanted.items()
        )
        and "_synced_at" in existing[entity.table]
    )


def _tables(tenant: str, entities: Iterable[Entity]) -> Iterator[sa.Table]:
    metadata = sa.MetaData(schema=tenant)
    for entity in entities:
        table = _table(metadata, entity.table, entity.row_columns, entity.key)
        table.append_column(
            sa.Column(
                "_synced_at",
                sa.DateTime(timezone=True),
                nullable=False,
                server_default=sa.func.now(),
            )
        )
        for name in indexes(entity):
            sa.Index(None, table.c[name], _table=table)
        table.comment = entity.description or None
        yield table
        for array in entity.arrays:
            yield _table(metadata, array.table, array.row_columns, ("parent_id", "position"))


def _table(
    metadata: sa.MetaData, name: str, columns: Iterable[Column], key: tuple[str, ...]
) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        *(sa.Column(c.name, _TYPES[c.kind], nullable=c.name not in key) for c in columns),
        sa.Column("_deleted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint(*key),
    )


def _existing(connection: sa.Connection, tenant: str) -> dict[str, dict[str, str]]:
    """Column types by column by table, as they stand."""
    found: dict[str, dict[str, str]] = {}
    rows = connection.execute(
        sa.text(
            "select c.relname, a.attname, format_type(a.atttypid, null)"
            " from pg_attribute a join pg_class c on c.oid = a.attrelid"
            " where c.relnamespace = to_regnamespace(:schema) and c.relkind in ('r', 'p')"
            " and a.attnum > 0 and not a.attisdropped"
        ),
        {"schema": f'"{tenant}"'},
    )
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def _widen(
    connection: sa.Connection, table: sa.Table, existing: Mapping[str, str]
) -> Iterator[str]:
    """Adds columns and alters types: the names of those added."""
    for column in table.columns:
        wanted = column.type.compile(_DIALECT).lower()
        if column.name not in existing:
            definition = CreateColumn(column).compile(dialect=_DIALECT)
            connection.execute(
                sa.text(f'alter table "{table.schema}"."{table.name}" add {definition}')
            )
            yield column.name
        elif _NAMES.get(existing[column.name]) != _NAMES.get(wanted, wanted):
            driver: Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
            schema = str(table.schema)
            retype(driver, (schema, table.name), column.name, Kind(_NAMES.get(wanted, wanted)))


def _columns(entities: Iterable[Entity]) -> Iterator[tuple[str, Column]]:
    """Every column that holds a field, with its table."""
    for entity in entities:
        yield from ((entity.table, column) for column in entity.columns)
        for array in entity.arrays:
            yield from ((array.table, column) for column in array.columns)
