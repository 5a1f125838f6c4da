"""Bringing the tables up to date: only the rows that a change since the last time concerns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import ReportingSchema, scripts, tables_reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.reporting.script import ViewScript


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


_CHANGED = "pg_temp.changed"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did to one table. `whole`: it was filled from nothing.

    Every change in ConnectWise up to `complete_through` is in it; None: something it reads was
    never synced.
    """

    name: str
    rows: int
    whole: bool
    seconds: float
    complete_through: datetime | None


def refresh(dsn: str, tenant: str, names: Iterable[str] | None = None) -> list[Refreshed]:
    """Brings tables of the reporting schema up to date, each in its own transaction.

    `names` are tables or views: the tables they stand on are refreshed, in their order; without
    names all of them. Readers see a table as it was until its refresh is done. Raises
    WarehouseError.
    """
    place = _published(dsn, tenant)
    wanted = None if names is None else _with_prerequisites(names)
    return [
        _refreshed(dsn, place, script)
        for script in scripts()
        if script.changed is not None and (wanted is None or script.name in wanted)
    ]


def refresh_after_sync(dsn: str, tenant: str, entities: Iterable[str]) -> list[Refreshed]:
    """Refreshes what shows these entities; nothing where nothing was published yet."""
    if _time_zone(dsn, tenant) is None:
        return []
    return refresh(dsn, tenant, tables_reading(entities))


def _published(dsn: str, tenant: str) -> ReportingSchema:
    """Where the tenant's views are, with the time zone they were published with."""
    zone = _time_zone(dsn, tenant)
    if zone is None:
        raise WarehouseError(f"nothing is published for {tenant!r}: run `migrate`")
    return ReportingSchema(tenant, zone)


def _time_zone(dsn: str, tenant: str) -> str | None:
    with transaction(dsn) as connection:
        row = connection.execute(
            "select max(time_zone) from cw_sync.publication where tenant = %s", [tenant]
        ).fetchone()
    return row[0] if row else None


def _with_prerequisites(names: Iterable[str]) -> set[str]:
    by_name = {script.name: script for script in scripts()}
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += by_name[name].needs & by_name.keys()
    return found


def _refreshed(dsn: str, place: ReportingSchema, script: ViewScript) -> Refreshed:
    started = time.monotonic()
    with transaction(dsn) as connection:
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 2))",
            [f"{place.tenant}/{script.name}"],
        )
        row = connection.execute(
            "select changed_through from cw_sync.publication where tenant = %s and name = %s",
            [place.tenant, script.name],
        ).fetchone()
        since = row[0] if row else None
        if since is None:
            rows = fill(connection, place, script, {})
        else:
            rows = _replace(connection, place, script, since)
        through = _complete_through(connection, place, script)
    return Refreshed(script.name, rows, since is None, time.monotonic() - started, through)


def _complete_through(
    connection: Connection[Any], place: ReportingSchema, script: ViewScript
) -> datetime | None:
    row = connection.execute(
        "select complete_through from cw_sync.publication where tenant = %s and name = %s",
        [place.tenant, script.name],
    ).fetchone()
    return row[0] if row else None


def fill(
    connection: Connection[Any],
    place: ReportingSchema,
    script: ViewScript,
    instead: Mapping[str, str],
) -> int:
    """Fills a table from nothing: how many rows. `instead`: what is read, see Script.filled.

    Nobody who reads the table waits, or sees anything of it before the transaction is done.
    """
    marks = _progress_marks(connection, place, script)
    connection.execute(sql.SQL("delete from {}").format(sql.Identifier(place.schema, script.name)))
    rows = _insert(connection, place, script, instead=instead)
    analyze_new_tables(connection, place, script)
    _remember(connection, place, script, marks)
    return rows


def fill_aside(
    connection: Connection[Any],
    place: ReportingSchema,
    script: ViewScript,
    instead: Mapping[str, str],
) -> None:
    """The rows of a table in `pg_temp`, under its name, until the transaction ends."""
    marks = _progress_marks(connection, place, script)
    own = sql.Identifier("pg_temp", script.name)
    made = sql.SQL("create temp table {} on commit drop as\n").format(sql.Identifier(script.name))
    query = made.as_string(connection) + script.filled(place, instead=instead)
    connection.execute(query.encode())
    connection.execute(sql.SQL("analyze {}").format(own))
    _remember(connection, place, script, marks)


def _replace(
    connection: Connection[Any], place: ReportingSchema, script: ViewScript, since: datetime
) -> int:
    """Takes out and computes anew the rows whose keys a change concerns: how many there are now."""
    assert script.changed is not None
    marks = _progress_marks(connection, place, script)
    query = place.fill(script.changed, since=since.isoformat())
    found = connection.execute(f"create temp table changed on commit drop as {query}".encode())
    rows = 0
    if found.rowcount:
        connection.execute("analyze pg_temp.changed")
        described = connection.execute("table pg_temp.changed limit 0").description or ()
        keys = [column.name for column in described]
        _delete(connection, place, script, keys)
        rows = _insert(connection, place, script, _CHANGED if keys else None)
    _remember(connection, place, script, marks)
    return rows


def _delete(
    connection: Connection[Any], place: ReportingSchema, script: ViewScript, keys: list[str]
) -> None:
    same = [sql.SQL("own.{0} = changed.{0}").format(sql.Identifier(name)) for name in keys]
    connection.execute(
        sql.SQL("delete from {} own using pg_temp.changed where {}").format(
            sql.Identifier(place.schema, script.name), sql.SQL(" and ").join(same)
        )
        if keys
        else sql.SQL("delete from {}").format(sql.Identifier(place.schema, script.name))
    )


def _insert(
    connection: Connection[Any],
    place: ReportingSchema,
    script: ViewScript,
    only: str | None = None,
    instead: Mapping[str, str] | None = None,
) -> int:
    query = script.filled(place, only, instead)
    # By name: a column that the table has gained since it was made is its last one.
    asked = sql.SQL("select * from (\n{}\n) q limit 0").format(sql.SQL(query))
    described = connection.execute(asked).description
    into = sql.SQL("insert into {} ({})\n").format(
        sql.Identifier(place.schema, script.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in described or ()),
    )
    return connection.execute((into.as_string(connection) + query).encode()).rowcount


def _progress_marks(
    connection: Connection[Any], place: ReportingSchema, script: ViewScript
) -> tuple[datetime, datetime | None]:
    """Up to where this refresh sees: rows synced, and changes in ConnectWise.

    A merge that has not committed yet stamped its rows when it began, so the oldest of the
    pipeline's transactions still open bounds the first. Those are all of this role, because not
    every pooler passes on what its clients call themselves; whoever else uses it only has some rows
    computed again. A table can be no further than the tables it reads.
    """
    row = connection.execute(
        "select least(min(a.xact_start), now(), (select min(t.changed_through) from"
        " cw_sync.publication t where t.tenant = %(tenant)s and t.name = any(p.tables))),"
        " least((select min(f.data_complete_through) from cw_sync.freshness f"
        " where f.tenant = %(tenant)s and f.entity = any(p.entities)),"
        " (select min(t.complete_through) from cw_sync.publication t"
        " where t.tenant = %(tenant)s and t.name = any(p.tables)))"
        " from cw_sync.publication p left join pg_stat_activity a"
        " on a.datname = current_database() and (a.usename = session_user"
        " or a.application_name like 'cw_pipeline%%')"
        " where p.tenant = %(tenant)s and p.name = %(name)s group by p.tables, p.entities",
        {"tenant": place.tenant, "name": script.name},
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _remember(
    connection: Connection[Any],
    place: ReportingSchema,
    script: ViewScript,
    marks: tuple[datetime, datetime | None],
) -> None:
    connection.execute(
        "update cw_sync.publication set refreshed_at = now(), changed_through = %s,"
        " complete_through = %s where tenant = %s and name = %s",
        [*marks, place.tenant, script.name],
    )
