"""Bringing the tables up to date: only the rows that a change since the last time concerns."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.row_difference import columns_of, write_difference
from cw_pipeline.reporting.script import ReportingSchema, kept_tables, scripts
from cw_pipeline.warehouse.history import versions_table
from cw_pipeline.warehouse.lease import live_is_alive
from cw_pipeline.warehouse.migrations import refuse_newer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.reporting.script import ViewScript

log = logging.getLogger(__name__)

_ROUGH = "set local default_statistics_target = 20"  # a sample of 6,000 rows; as it comes, 30,000
_DELETED = "_deleted_at"
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
    unknown = [name for (name,) in connection.execute(_UNKNOWN, values).fetchall()]
    if unknown:
        past = {name for script in scripts for name in script.histories} & {*unknown}
        tables = [_of(place.tenant, name, [_DELETED]) for name in unknown]
        tables += [_of(place.tenant, versions_table(name), ["_next_from"]) for name in sorted(past)]
        _look(connection, tables)


def _look(connection: Connection[Any], tables: Iterable[sql.Composable]) -> None:
    connection.execute(_ROUGH)
    connection.execute(sql.SQL("analyze {}").format(sql.SQL(", ").join(tables)))


def _of(schema: str, table: str, columns: Iterable[str]) -> sql.Composable:
    return sql.SQL("{} ({})").format(
        sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )


_CHANGED = "pg_temp.changed"
_MANY = 2_000  # keys, from which on a nested loop over them is never right

Connect: TypeAlias = "Callable[[], AbstractContextManager[Connection[Any]]]"
Marks: TypeAlias = "tuple[datetime, datetime | None]"
"""Up to where a table sees rows synced, and changes in ConnectWise."""

# The pipeline's oldest open transaction is looked for here, before it is asked what changed: one
# that ends in between is seen by the later statement, and one that does not bounds the marks.
_STANDING = """
select p.name, p.time_zone, p.month_closes_on, p.tables, p.changed_through, p.complete_through,
    (select min(f.data_complete_through) from cw_sync.freshness f
     where f.tenant = p.tenant and f.entity = any(p.entities)),
    p.digest,
    least(now(), (select min(a.xact_start) - interval '1 microsecond' from pg_stat_activity a
        where a.datname = current_database() and a.pid <> pg_backend_pid()
        and (a.usename = session_user or a.application_name like 'cw_pipeline%%'))),
    (select version_num from cw_sync.migration)
from cw_sync.publication p where p.tenant = %(tenant)s and p.is_table
"""
_MOVE_ON = """
with marks as materialized (
    select * from unnest(%(names)s::text[], %(since)s::timestamptz[], %(changed)s::timestamptz[],
        %(complete)s::timestamptz[]) as m (name, since, changed, complete)
    where pg_try_advisory_xact_lock(hashtextextended(%(tenant)s || '/' || name, 2))
)
update cw_sync.publication p set refreshed_at = now(), changed_through = m.changed,
    complete_through = m.complete
from marks m where p.tenant = %(tenant)s and p.name = m.name and p.changed_through = m.since
returning p.name
"""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did to one table: how many rows it wrote or took out.

    `whole`: it was filled from nothing, and `rows` are all of them.

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
    WarehouseError, and WarehouseNewer if this process is too old for the warehouse.
    """
    done = refresh_published(partial(transaction, dsn), tenant, names)
    if done is None:
        raise WarehouseError(f"nothing is published for {tenant!r}: run `migrate`")
    return done


def tables_behind(connect: Connect, tenant: str, *, beside_live: bool = False) -> set[str]:
    """The tables that a refresh would change. The others are moved on, as complete as they are.

    `beside_live`: while a worker that stays is alive, what it has just refreshed is left to it.
    Nothing where nothing was published yet. Computes nothing. Raises WarehouseError.
    """
    with connect() as connection:
        standing = _standing(connection, tenant)
        names = kept_tables()
        if beside_live and live_is_alive(connection, tenant):
            names -= _just_refreshed(connection, tenant)
        due = standing.scripts_as_published(names)
        return {script.name for script in due} - _move_on_unchanged(
            connection, standing, due
        ).keys()


def _just_refreshed(connection: Connection[Any], tenant: str) -> set[str]:
    """The tables that a worker that stays looks after: it does so each five minutes."""
    rows = connection.execute(
        "select name from cw_sync.publication"
        " where tenant = %s and refreshed_at > now() - interval '10 minutes'",
        [tenant],
    )
    return {name for (name,) in rows}


def refresh_times(connection: Connection[Any], tenant: str) -> dict[str, datetime | None]:
    """When each of the tables that are published was refreshed last; None: never, or a view."""
    rows = connection.execute(
        "select name, case when is_table then refreshed_at end from cw_sync.publication"
        " where tenant = %s",
        [tenant],
    )
    return dict(rows.fetchall())


def refresh_published(
    connect: Connect, tenant: str, names: Iterable[str] | None
) -> list[Refreshed] | None:
    """The same over connections that are there; None where nothing was published yet.

    `connect` opens a transaction. Raises WarehouseError.
    """
    wanted = kept_tables() if names is None else kept_tables() & _with_prerequisites(names)
    if not wanted:
        return []
    with connect() as connection:
        standing = _standing(connection, tenant)
        due = standing.scripts_as_published(wanted)
        current = _move_on_unchanged(connection, standing, due)
    if not standing.tables:
        return None
    for name in sorted(wanted - {script.name for script in due}):
        log.warning(
            "%s is left as it is: the warehouse does not have it as this version makes it. Run"
            " `migrate`; if somebody has done so since this process began, restart it",
            name,
        )
    return [
        current.get(script.name) or _refresh_table(connect, standing.place, script)
        for script in due
    ]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as it was published and refreshed last. See `cw_sync.publication`."""

    name: str
    time_zone: str
    month_closes_on: int
    reads: list[str]
    changed_through: datetime | None
    complete_through: datetime | None
    sources_complete_through: datetime | None
    digest: str


@dataclass(frozen=True, slots=True)
class _Standing:
    """How far the tables are, and up to where a look that is made from now on sees.

    `place` is where they are, with the time zone and the closing day they were published with.
    """

    place: ReportingSchema
    tables: dict[str, _Table]
    visible_through: datetime | None

    def scripts_as_published(self, names: Iterable[str]) -> list[ViewScript]:
        """Those of the scripts whose tables were published by the same ones, in their order.

        Another version's would mix rows of two definitions, or miss what it should follow.
        """
        return [
            script
            for script in scripts()
            if script.name in names
            and (table := self.tables.get(script.name))
            and table.digest == script.digest(self.place)
        ]


def _standing(connection: Connection[Any], tenant: str) -> _Standing:
    """Raises WarehouseNewer."""
    rows = connection.execute(_STANDING, {"tenant": tenant}).fetchall()
    tables = {name: _Table(name, *row) for name, *row, _, _ in rows}
    settings = max(
        ((table.time_zone, table.month_closes_on) for table in tables.values()), default=()
    )
    visible_through, version = rows[0][-2:] if rows else (None, None)
    refuse_newer(version)
    return _Standing(ReportingSchema(tenant, *settings), tables, visible_through)


def _move_on_unchanged(
    connection: Connection[Any], standing: _Standing, due: list[ViewScript]
) -> dict[str, Refreshed]:
    """The tables that no change concerns: only up to where they are complete is moved on.

    All in two statements, because most syncs change little. A table that somebody refreshes or
    publishes at this moment is left alone: its rows may be older than what was looked at here.
    """
    started = time.monotonic()
    tables = standing.tables
    known = [script for script in due if tables[script.name].changed_through is not None]
    behind = {script.name for script in due} - {script.name for script in known}
    asked = []  # whether at least one row has to be computed anew
    for script in known:
        since = tables[script.name].changed_through
        assert since is not None
        assert script.changed is not None
        query = standing.place.fill(script.changed, since=since.isoformat())
        # Materialized: planned as if all of its rows were wanted. For a first row alone, Postgres
        # may choose to read a whole table in which there is none.
        asked.append(
            f"select '{script.name}' where exists ("  # noqa: S608 - a file's name and query
            f"with changed as materialized (\n{query}\n) select from changed)"
        )
    if asked:
        rows = connection.execute("\nunion all\n".join(asked).encode())
        behind |= {name for (name,) in rows}
    marks = _marks_of_unchanged(standing, known, behind)
    if not marks:
        return {}
    values = {
        "tenant": standing.place.tenant,
        "names": list(marks),
        "since": [tables[name].changed_through for name in marks],
        "changed": [changed for changed, _ in marks.values()],
        "complete": [complete for _, complete in marks.values()],
    }
    moved = [name for (name,) in connection.execute(_MOVE_ON, values)]
    seconds = (time.monotonic() - started) / max(1, len(moved))
    return {
        name: Refreshed(name, 0, whole=False, seconds=seconds, complete_through=marks[name][1])
        for name in moved
    }


def _marks_of_unchanged(
    standing: _Standing, known: Iterable[ViewScript], behind: set[str]
) -> dict[str, Marks]:
    """The progress marks of what neither is behind itself nor reads a table that is."""
    tables = dict(standing.tables)
    marks: dict[str, Marks] = {}
    for script in known:  # each after those it reads
        table = tables[script.name]
        if script.name in behind or _with_prerequisites(script.all_needs) & behind:
            behind.add(script.name)
            continue
        read = [tables[name] for name in table.reads if name in tables]
        seen = (standing.visible_through, *(each.changed_through for each in read))
        whole = (table.sources_complete_through, *(each.complete_through for each in read))
        # As SQL's `least`: what is not known does not count.
        changed = min(moment for moment in seen if moment is not None)
        complete = min((moment for moment in whole if moment is not None), default=None)
        marks[table.name] = changed, complete
        tables[table.name] = replace(table, changed_through=changed, complete_through=complete)
    return marks


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


def _refresh_table(connect: Connect, place: ReportingSchema, script: ViewScript) -> Refreshed:
    started = time.monotonic()
    with connect() as connection:
        # Its commit waits for no disk: rows and marks that a crash of the server loses are computed
        # again, as if the refresh had not been.
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 2)),"
            " set_config('synchronous_commit', 'off', true)",
            [f"{place.tenant}/{script.name}"],
        )
        since, digest, version = connection.execute(
            "select p.changed_through, p.digest, (select version_num from cw_sync.migration)"
            " from (values (%s, %s)) own (tenant, name)"
            " left join cw_sync.publication p using (tenant, name)",
            [place.tenant, script.name],
        ).fetchone() or (None, None, None)
        # Somebody may have published, or migrated, while the lock was waited for.
        refuse_newer(version)
        if digest != script.digest(place):
            return Refreshed(script.name, 0, whole=False, seconds=0, complete_through=None)
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
    fresh = sql.Identifier("pg_temp", script.name)
    made = sql.SQL("create temp table {} on commit drop as\n").format(sql.Identifier(script.name))
    query = made.as_string(connection) + script.query_for(place, instead=instead)
    connection.execute(query.encode())
    connection.execute(sql.SQL("analyze {}").format(fresh))
    _remember(connection, place, script, marks)


def _replace(
    connection: Connection[Any], place: ReportingSchema, script: ViewScript, since: datetime
) -> int:
    """Computes anew the rows whose keys a change concerns, and writes those that differ: how many.

    What is as it was is not touched: no other transaction waits for it, and it costs no WAL.
    """
    assert script.changed is not None
    marks = _progress_marks(connection, place, script)
    query = place.fill(script.changed, since=since.isoformat())
    # As on a disk of today: by the default, made for disks that turn, Postgres reads two million
    # time entries through where an index leads to the few that are asked for.
    connection.execute("set local random_page_cost = 1.1")
    found = connection.execute(f"create temp table changed on commit drop as {query}".encode())
    rows = 0
    if found.rowcount:
        connection.execute("analyze pg_temp.changed")
        keys = columns_of(connection, f"table {_CHANGED}")
        query = script.query_for(place, _CHANGED if keys else None)
        if found.rowcount > _MANY:
            # Of rows made by generate_series Postgres expects so few that it would go through all
            # keys for each: minutes for the days of a few members.
            connection.execute("set local enable_nestloop = off")
        if found.rowcount > _MANY or not keys:
            # Many rows: only what stands by itself is computed by several processes.
            connection.execute(f"create temp table fresh on commit drop as {query}".encode())
            query = "table pg_temp.fresh"
        rows = write_difference(connection, (place.schema, script.name), keys, query)
        connection.execute("set local enable_nestloop to default")
    _remember(connection, place, script, marks)
    return rows


def _insert(
    connection: Connection[Any],
    place: ReportingSchema,
    script: ViewScript,
    only: str | None = None,
    instead: Mapping[str, str] | None = None,
) -> int:
    query = script.query_for(place, only, instead)
    # By name: a column that the table has gained since it was made is its last one.
    into = sql.SQL("insert into {} ({})\n").format(
        sql.Identifier(place.schema, script.name),
        sql.SQL(", ").join(map(sql.Identifier, columns_of(connection, query))),
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
        "select least(min(a.xact_start) - interval '1 microsecond', now(), (select"
        " min(t.changed_through) from cw_sync.publication t"
        " where t.tenant = %(tenant)s and t.name = any(p.tables))),"
        " least((select min(f.data_complete_through) from cw_sync.freshness f"
        " where f.tenant = %(tenant)s and f.entity = any(p.entities)),"
        " (select min(t.complete_through) from cw_sync.publication t"
        " where t.tenant = %(tenant)s and t.name = any(p.tables)))"
        " from cw_sync.publication p left join pg_stat_activity a"
        " on a.datname = current_database() and a.pid <> pg_backend_pid()"
        " and (a.usename = session_user or a.application_name like 'cw_pipeline%%')"
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
