"""What Postgres must know of tables before it can plan how to read them, and no more.

Of a table that nobody has looked at it takes one row in two hundred for not deleted, and joining
everything with everything looks cheap then. The thorough look is autovacuum's: one that names
columns, as these do, does not keep it from coming.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

    from cw_pipeline.reporting.script import ReportingSchema, ViewScript

_ROUGH = "set local default_statistics_target = 20"  # a sample of 6,000 rows; as it comes, 30,000
_DELETED = "_deleted_at"
_HISTORY = sql.SQL("cw_sync.history (tenant, entity, record_id, column_name, valid_to)")
_UNKNOWN = """
select c.relname from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = %(deleted)s
where c.relnamespace = to_regnamespace(%(schema)s) and c.relname = any(%(tables)s)
    and not exists (select from pg_stats s where s.schemaname = %(tenant)s
        and s.tablename = c.relname and s.attname = %(deleted)s)
"""


def analyze_new_tables(
    connection: Connection[Any], place: ReportingSchema, script: ViewScript
) -> None:
    """Has Postgres look at a table that was just filled."""
    _look(connection, [_of(place.schema, script.name, script.columns)])


def glance_at_sources(
    connection: Connection[Any], place: ReportingSchema, scripts: Iterable[ViewScript]
) -> None:
    """Has it look at what the scripts read, where it never has."""
    values = {
        "deleted": _DELETED,
        "schema": f'"{place.tenant}"',
        "tenant": place.tenant,
        "tables": sorted({table for script in scripts for table in script.sources}),
    }
    unknown = connection.execute(_UNKNOWN, values).fetchall()
    if unknown:
        tables = [_of(place.tenant, name, [_DELETED]) for (name,) in unknown]
        _look(connection, [*tables, _HISTORY])


def _look(connection: Connection[Any], tables: Iterable[sql.Composable]) -> None:
    connection.execute(_ROUGH)
    connection.execute(sql.SQL("analyze {}").format(sql.SQL(", ").join(tables)))


def _of(schema: str, table: str, columns: Iterable[str]) -> sql.Composable:
    return sql.SQL("{} ({})").format(
        sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
