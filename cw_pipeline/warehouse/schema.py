"""Creates and upgrades the schemas: versioned SQL for the state, the catalog for the tables.

stored = read_schema(connection, tenant, entities)     # one statement, no lock
if stored is None or not stored.fits(entities, history_columns):
    migrate(dsn, tenant, entities, history_columns)
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from cw_pipeline.address import parse_address, passwords
from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.promotion import with_promoted_columns
from cw_pipeline.errors import ConfigError, WarehouseError, WarehouseNewer
from cw_pipeline.model import Column, Kind
from cw_pipeline.warehouse.connections import (
    connect,
    create_schemas,
    named_failures,
    sqlalchemy_transaction,
    transaction,
)
from cw_pipeline.warehouse.ddl import patiently
from cw_pipeline.warehouse.history import (
    parse_history_columns,
    set_history_columns,
    versions_table,
)
from cw_pipeline.warehouse.migrations import (
    KNOWN_VERSIONS,
    refuse_newer,
    stored_version,
    upgrade_state,
)
from cw_pipeline.warehouse.tables import (
    create_history,
    create_tables,
    driver,
    tables_fit,
    widen,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from psycopg import Connection

    from cw_pipeline.model import Entity
    from cw_pipeline.warehouse.database import Database
    from cw_pipeline.warehouse.ddl import Attempt

_LOCK = 7_239_001  # any number that nothing else uses: of two that start at once one creates


def migrate(
    dsn: str, tenant: str, entities: Iterable[Entity], history_columns: str | None = None
) -> None:
    """Brings the state schema and the entities' tables up to this version. Drops nothing.

    `history_columns` are those of CW_HISTORY_COLUMNS, kept of every version beside the usual ones;
    None leaves what is chosen as it is. Raises ConfigError if one of them is unknown,
    WarehouseError if the warehouse cannot be reached or refuses, WarehouseNewer if this process is
    too old for it, WarehouseLocked if somebody keeps a table locked for minutes. Whoever reads the
    tables waits half a second at most, or for as long as it takes to fill a new column of the one
    table.
    """
    columns = parse_history_columns(history_columns)
    keeps_chosen = history_columns is None
    entities = list(entities)

    def upgrade(attempt: Attempt) -> list[str]:
        with sqlalchemy_transaction(dsn) as connection, attempt.brief(driver(connection), _LOCK):
            create_schemas(driver(connection), "cw_sync", tenant)
            here = stored_version(driver(connection))
            refuse_newer(here)
            upgrade_state(connection, here)
            outdated = create_tables(connection, tenant, entities)
            set_history_columns(connection, tenant, columns, and_before=keeps_chosen)
            create_history(driver(connection), tenant)
            return outdated

    def widen_one(attempt: Attempt, table: str) -> None:
        with sqlalchemy_transaction(dsn) as connection, attempt.brief(driver(connection), _LOCK):
            widen(connection, tenant, entities, table)

    watching = partial(transaction, dsn)
    for table in patiently(upgrade, watching, "the migration"):
        # Each in a transaction of its own: none stays locked while another is filled.
        what = f"the migration of {tenant}.{table}"
        patiently(partial(widen_one, table=table), watching, what)


_STORED = """
select (select version_num from cw_sync.migration),
    (select tenant from cw_sync.schema_owner where schema = %(tenant)s),
    has_database_privilege(current_database(), 'temporary') and (
        select count(*) = 2 from pg_namespace n
        where n.nspname in ('cw_sync', %(tenant)s)
        and has_schema_privilege(n.oid, 'usage') and has_schema_privilege(n.oid, 'create')),
    (select coalesce(jsonb_object_agg(t.name, t.columns), '{}') from (
        select c.relname as name, jsonb_object_agg(a.attname, format_type(a.atttypid, null))
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p')
            and c.relname = any(%(tables)s) and a.attnum > 0 and not a.attisdropped
        group by c.relname) t (name, columns)),
    (select coalesce(jsonb_agg(jsonb_build_array(entity, column_name, path, kind)
        order by promoted_at, path), '[]')
     from cw_sync.promoted_column where tenant = %(tenant)s),
    (select coalesce(jsonb_agg(jsonb_build_array(entity, column_name)), '[]')
     from cw_sync.history_column where tenant = %(tenant)s),
    (select coalesce(jsonb_agg(jsonb_build_array(c.relname, a.attname)), '[]')
     from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
     where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p')
        and (right(c.relname, 10) = '__versions' or c.relname = any(%(versions)s))),
    (select coalesce(jsonb_agg(jsonb_build_array(table_name, column_name, how)), '[]')
     from cw_sync.private_column where tenant = %(tenant)s)
"""


@dataclass(frozen=True, slots=True)
class StoredSchema:
    """What the warehouse has of a tenant and of some entities' tables, as it stands.

    `owner` is the ConnectWise tenant that the schema is marked with. `may_create`: the role has the
    rights that a migration may need. `columns` are types by column by table. `history` names what
    is kept of versions, by entity and column, and `versions` the columns that their tables have.
    `private` says how private columns are kept, by table and column.
    """

    version: str
    owner: str | None
    may_create: bool
    columns: Mapping[str, Mapping[str, str]]
    promoted: Mapping[str, Sequence[Column]]
    history: frozenset[tuple[str, str]]
    versions: frozenset[tuple[str, str]]
    private: Mapping[tuple[str, str], str]

    def fits(self, entities: Iterable[Entity], history_columns: str | None) -> bool:
        """Whether `migrate` with these would change nothing.

        Raises ConfigError as it does.
        """
        wanted = parse_history_columns(history_columns)
        wanted_columns = {(name, column) for name, columns in wanted.items() for column in columns}
        return (
            self.version == KNOWN_VERSIONS[-1]
            and self.may_create
            and (
                wanted_columns <= self.history
                if history_columns is None
                else wanted_columns == self.history
            )
            and all(
                (versions_table(declared.table), column) in self.versions
                for entity, column in self.history
                if (declared := CATALOG.declared.get(entity))
            )
            and all(
                tables_fit(
                    with_promoted_columns(entity, self.promoted.get(entity.name, ())), self.columns
                )
                for entity in entities
            )
        )


def read_schema(
    connection: Connection[Any], tenant: str, entities: Iterable[Entity]
) -> StoredSchema | None:
    """What there is of these entities, in one statement that locks nothing.

    None where the state schema is missing or of an older version, or may not be read: `migrate`
    mends that, or says what is wrong. Not for use in a transaction, which would be aborted then.
    """
    tables = {table for each in entities for table in (each.table, *(a.table for a in each.arrays))}
    versions = [versions_table(declared.table) for declared in CATALOG.declared.values()]
    asked = {
        "tenant": tenant,
        "schema": f'"{tenant}"',
        "tables": sorted(tables),
        "versions": [name for name in versions if not name.endswith("__versions")],  # cut names
    }
    try:
        row = connection.execute(_STORED, asked).fetchone()
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InsufficientPrivilege):
        return None
    assert row is not None
    version, owner, may_create, columns, promotions, history, versioned, private = row
    promoted: dict[str, list[Column]] = {}
    for entity, name, path, kind in promotions:
        promoted.setdefault(entity, []).append(Column(name, tuple(path), Kind(kind)))
    return StoredSchema(
        version,
        owner,
        may_create,
        columns,
        promoted,
        frozenset((entity, column) for entity, column in history),
        frozenset((table, column) for table, column in versioned),
        {(table, column): how for table, column, how in private},
    )


def up_to_date_schema(
    database: Database, dsn: str, entities: Sequence[Entity], history_columns: str | None
) -> StoredSchema:
    """What the warehouse has of these entities, after `migrate` where anything is due.

    Nearly always nothing is: one statement sees that, and neither locks nor writes. `dsn` is where
    a migration connects. Raises what `migrate` raises.
    """
    tenant = database.schema
    with database.connection() as connection:
        stored = read_schema(connection, tenant, entities)
    if stored is not None and stored.fits(entities, history_columns):
        return stored
    migrate(dsn, tenant, entities, history_columns)
    with database.connection() as connection:
        stored = read_schema(connection, tenant, entities)
    if stored is None:
        raise WarehouseError(
            f"the role may not read all of the schemas cw_sync and {tenant}: let their owner run"
            " grant select on all tables in schema cw_sync to it"
        )
    return stored


def version_fault(dsn: str) -> str | None:
    """What is wrong with the warehouse's version, or None. Changes nothing."""
    hidden = passwords(parse_address(dsn))
    with named_failures(hidden), connect(dsn, autocommit=True) as connection:
        try:
            row = connection.execute("select version_num from cw_sync.migration").fetchone()
            refuse_newer(row[0] if row else None)
        except errors.UndefinedTable:  # before the first migration
            return None
        except WarehouseNewer as error:
            return str(error)
    return None


def mark_tenant(connection: Connection[Any], schema: str, tenant: str) -> None:
    """Notes which tenant a schema holds: `company@host`. In the caller's transaction.

    Two tenants in one table could never be told apart again. The schema's comment says it too, for
    people, where the role may write it. Raises ConfigError if the schema holds another tenant.
    """
    row = connection.execute(
        "select tenant from cw_sync.schema_owner where schema = %s", [schema]
    ).fetchone()
    if row is None:
        connection.execute(
            "insert into cw_sync.schema_owner (schema, tenant) values (%s, %s)", [schema, tenant]
        )
        comment = sql.SQL("comment on schema {} is {}").format(
            sql.Identifier(schema),
            sql.Literal(f"ConnectWise tenant {tenant}, kept by cw_pipeline"),
        )
        # The schema may be made by an administrator, and only its owner may comment on it.
        with suppress(errors.InsufficientPrivilege), connection.transaction():
            connection.execute(comment)
    elif row[0] != tenant:
        raise ConfigError(
            f"the schema {schema} holds the ConnectWise tenant {row[0]}, and the settings name"  # noqa: S608 - it is told, not run
            f" {tenant}. Set CW_SCHEMA to another name, or CW_WAREHOUSE_DSN to another database. If"
            " it is the same tenant at a new address, run in the warehouse: delete from"
            f" cw_sync.schema_owner where schema = '{schema}'"
        )
