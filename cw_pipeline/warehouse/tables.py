"""The catalog's tables: created when new, widened when the catalog has grown, never dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.facts import other_places
from cw_pipeline.model import Column, Entity, Kind
from cw_pipeline.warehouse.columns import move_from_extra, widen_column
from cw_pipeline.warehouse.history import create_history_table, widen_history
from cw_pipeline.warehouse.promotions import entities_with_promotions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from psycopg import Connection

    Transaction = Callable[[], AbstractContextManager[Connection[Any]]]

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
_ROWS_AT_ONCE = 50_000  # about a second, for which a merge of the same rows waits


def create_tables(connection: sa.Connection, tenant: str, entities: Iterable[Entity]) -> list[str]:
    """Creates what is missing of the entities' tables: names of those that `widen` must bring up.

    Nothing here locks a table that was there before.
    """
    existing, entities = _existing(connection, tenant), list(entities)
    outdated: list[str] = []
    created: set[str] = set()
    for table in _due(connection, tenant, entities, existing):
        if table.name in existing:
            outdated += [table.name] if _outdated_columns(table, existing[table.name]) else []
        else:
            connection.execute(CreateTable(table))
            for index in table.indexes:
                connection.execute(CreateIndex(index))
            created.add(table.name)
    _watch_hand_edits(driver(connection), tenant, entities, created)
    return outdated


def _watch_hand_edits(
    connection: Connection[Any], tenant: str, entities: Iterable[Entity], created: set[str]
) -> None:
    """Has new tables mark rows that others than the pipeline change."""
    for entity in entities:
        if entity.table in created:
            connection.execute(
                "select cw_sync.watch_rows(format('%%I.%%I', %s::text, %s::text)::regclass)",
                [tenant, entity.table],
            )
        for array in entity.arrays:
            if array.table in created:
                connection.execute(
                    "select cw_sync.watch_elements("
                    "format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)",
                    [tenant, array.table, entity.table, entity.key[-1]],
                )


def mark_unwatched_rows(transaction: Transaction, tenant: str, entity: Entity) -> bool:
    """Whether changes by hand could have gone unseen: then every row of the entity is marked now.

    They could if somebody switched our triggers off, as `pg_restore --disable-triggers` does. They
    are switched on again, which locks the table: so its rows are marked before, and then only what
    was written meanwhile.
    """
    with transaction() as connection:
        if not _tables_without_triggers(connection, tenant, entity):
            return False
    marked = _ROWS_AT_ONCE
    while marked == _ROWS_AT_ONCE:
        with transaction() as connection:
            marked = _mark_rows(connection, tenant, entity, _ROWS_AT_ONCE)
    with transaction() as connection:
        _watch_hand_edits(
            connection, tenant, [entity], _tables_without_triggers(connection, tenant, entity)
        )
        _mark_rows(connection, tenant, entity)
    return True


def _tables_without_triggers(connection: Connection[Any], tenant: str, entity: Entity) -> set[str]:
    """Those of the entity's tables whose triggers are off."""
    names = {entity.table, *(array.table for array in entity.arrays)}
    found = connection.execute(
        "select name from unnest(%s::text[]) name"
        " where not cw_sync.is_watched(format('%%I.%%I', %s::text, name)::regclass)",
        [sorted(names), tenant],
    ).fetchall()
    return {name for (name,) in found}


def _mark_rows(
    connection: Connection[Any], tenant: str, entity: Entity, most: int | None = None
) -> int:
    """Marks rows as changed by hand: how many. None: all that are not."""
    query = sql.SQL(
        "update {0} set _row_hash = 0"
        " where ctid = any(array(select ctid from {0} where _row_hash <> 0 limit %s))"
    ).format(sql.Identifier(tenant, entity.table))
    return connection.execute(query, [most]).rowcount


def create_history(connection: Connection[Any], tenant: str) -> None:
    """Creates what is missing of the tables of versions: of the entities that are tracked."""
    tracked = connection.execute(
        "select distinct entity from cw_sync.history_column where tenant = %s", [tenant]
    ).fetchall()
    known = [CATALOG[name] for (name,) in tracked if name in CATALOG.declared]
    for entity in entities_with_promotions(connection, tenant, known):
        create_history_table(connection, tenant, entity)


def widen(connection: sa.Connection, tenant: str, entities: Iterable[Entity], name: str) -> None:
    """Adds the columns that a table of the entities has gained, and alters types that have grown.

    A column that is new gets its values out of `_extra`. Raises WarehouseError if a type can only
    be had by losing something.
    """
    existing = _existing(connection, tenant)
    grown = entities_with_promotions(driver(connection), tenant, entities)
    catalog = {(table, column.name): column for table, column in _columns(grown)}
    for table in _due(connection, tenant, entities, existing):
        if table.name == name:
            for added in _widen(connection, table, existing[name]):
                if column := catalog.get((name, added)):
                    move_from_extra(driver(connection), tenant, name, column)
                    for other in other_places([column.path]):
                        moved = replace(column, path=other)
                        move_from_extra(driver(connection), tenant, name, moved, only_empty=True)


def driver(connection: sa.Connection) -> Connection[Any]:
    """The same connection without SQLAlchemy around it."""
    return connection.connection.driver_connection  # type: ignore[return-value]


def _due(
    connection: sa.Connection,
    tenant: str,
    entities: Iterable[Entity],
    existing: Mapping[str, Mapping[str, str]],
) -> Iterator[sa.Table]:
    """The tables of those entities of which not everything is as it should be."""
    grown = entities_with_promotions(driver(connection), tenant, entities)
    return _tables(tenant, [entity for entity in grown if not tables_fit(entity, existing)])


def tables_fit(entity: Entity, existing: Mapping[str, Mapping[str, str]]) -> bool:
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
        for name in entity.indexed:
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
        *(
            # SQLAlchemy else makes a lone whole number in a key count up by itself.
            sa.Column(c.name, _TYPES[c.kind], nullable=c.name not in key, autoincrement=False)
            for c in columns
        ),
        sa.Column("_deleted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint(*key),
    )


def _existing(connection: sa.Connection, tenant: str) -> dict[str, dict[str, str]]:
    """Column types by column by table, as they stand."""
    kinds: dict[str, dict[str, str]] = {}
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
        kinds.setdefault(table, {})[column] = kind
    return kinds


_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def _outdated_columns(table: sa.Table, existing: Mapping[str, str]) -> list[sa.Column[Any]]:
    """Its columns that are not there, or of another type."""
    return [
        column
        for column in table.columns
        if _NAMES.get(existing.get(column.name, "")) != _kind(column).value
    ]


def _widen(
    connection: sa.Connection, table: sa.Table, existing: Mapping[str, str]
) -> Iterator[str]:
    """Adds columns and alters types: the names of those added."""
    for column in _outdated_columns(table, existing):
        if column.name not in existing:
            definition = CreateColumn(column).compile(dialect=_DIALECT)
            connection.execute(
                sa.text(f'alter table "{table.schema}"."{table.name}" add {definition}')
            )
            yield column.name
        else:
            table_name = (str(table.schema), table.name)
            widen_column(driver(connection), table_name, column.name, _kind(column))
            widen_history(driver(connection), table_name, column.name, _kind(column))


def _kind(column: sa.Column[Any]) -> Kind:
    wanted = column.type.compile(_DIALECT).lower()
    return Kind(_NAMES.get(wanted, wanted))


def _columns(entities: Iterable[Entity]) -> Iterator[tuple[str, Column]]:
    """Every column that holds a field, with its table."""
    for entity in entities:
        yield from ((entity.table, column) for column in entity.columns)
        for array in entity.arrays:
            yield from ((array.table, column) for column in array.columns)
