"""The snapshot of the tenant's reports: which columns each has, and what changed since last time.

Reports are views of the vendor's database: a release or an administrator changes them without
notice, and whatever was built on them breaks. This notices.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from psycopg import sql

from cw_pipeline.connectwise import Paging, Query, RequestCounts
from cw_pipeline.errors import ENDS_THE_RUN, SourceError
from cw_pipeline.model import ReportColumn, ReportDrift
from cw_pipeline.reports_api.api import report_columns, report_names
from cw_pipeline.sync.context import parallel_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection

    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse.database import Database


TABLE = "report_columns"

_CREATE = """
create table if not exists {table} (
    report      text        not null,
    "column"    text        not null,
    type        text        not null,
    nullable    boolean,
    position    bigint      not null,
    first_seen  timestamptz not null default now(),
    last_seen   timestamptz not null default now(),
    _synced_at  timestamptz not null default now(),
    _deleted_at timestamptz,
    primary key (report, "column")
)
"""
_WRITE = """
insert into {table} as kept (report, "column", type, nullable, position)
values (%s, %s, %s, %s, %s)
on conflict (report, "column") do update set type = excluded.type, nullable = excluded.nullable,
    position = excluded.position, last_seen = now(), _synced_at = now(), _deleted_at = null
"""
_REMOVE = """
update {table} set _deleted_at = now(), _synced_at = now()
where report = %s and "column" = %s and _deleted_at is null
"""
_COMMENT = "Columns of the tenant's reports, as the reporting API declares them"


class ReportColumnStore:
    """What is kept of the reports, inside one transaction. Made by `report_store`."""

    def __init__(self, connection: Connection[Any], tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant
        self._table = sql.Identifier(tenant, TABLE)

    def known_columns(self) -> list[ReportColumn]:
        """The columns as they were last seen, without those that are gone."""
        query = (
            'select report, "column", type, nullable, position from {table}'
            " where _deleted_at is null order by report, position"
        )
        return [ReportColumn(*row) for row in self._connection.execute(self._query(query))]

    def write(self, columns: Sequence[ReportColumn]) -> None:
        """Stores columns as they are now."""
        rows = [(c.report, c.column, c.type, c.nullable, c.position) for c in columns]
        with self._connection.cursor() as cursor:
            cursor.executemany(self._query(_WRITE), rows)

    def remove(self, columns: Sequence[ReportColumn]) -> None:
        """Soft-deletes columns that are gone."""
        with self._connection.cursor() as cursor:
            cursor.executemany(self._query(_REMOVE), [(c.report, c.column) for c in columns])

    def note(self, drift: Sequence[ReportDrift]) -> None:
        """Adds to the history of changes."""
        with self._connection.cursor() as cursor:
            cursor.executemany(
                'insert into cw_sync.report_drift (tenant, report, "column", change, was, now)'
                " values (%s, %s, %s, %s, %s, %s)",
                [(self._tenant, d.report, d.column, d.change, d.was, d.now) for d in drift],
            )

    def create(self) -> None:
        """Makes the table if there is none, and keeps other snapshots out until the end."""
        self._connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 2))", [f"{self._tenant}/{TABLE}"]
        )
        self._connection.execute(self._query(_CREATE))
        comment = sql.SQL("comment on table {} is {}").format(self._table, sql.Literal(_COMMENT))
        self._connection.execute(comment)

    def _query(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(table=self._table)


@contextmanager
def report_store(database: Database) -> Iterator[ReportColumnStore]:
    """The store, in a transaction that a failure of the block undoes."""
    with database.transaction() as connection:
        store = ReportColumnStore(connection, database.schema)
        store.create()
        yield store


_LIST = "/system/reports"


@dataclass(slots=True)
class ReportSnapshot:
    """What a snapshot of the reports found.

    `unreadable`: what went wrong, by report; its columns are kept as they were. `withheld` reports
    are no longer listed, but so many at once that nothing was deleted: a role that shrank looks
    like that.
    """

    reports: int = 0
    columns: int = 0
    first: bool = False
    drift: list[ReportDrift] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    withheld: list[str] = field(default_factory=list)
    tally: RequestCounts = field(default_factory=RequestCounts)


def snapshot_reports(engine: SyncContext) -> ReportSnapshot:
    """Reads the columns of every report and stores them with what changed.

    Raises a SourceError if the list of reports, or every report on it, cannot be read.
    """
    found = ReportSnapshot()
    names = _names(engine, found.tally)
    columns = _columns(engine, names, found)
    found.reports = len(names)
    found.columns = len(columns)
    with report_store(engine.database) as store:
        known = store.known_columns()
        found.first = not known
        gone = columns_gone(known, columns, set(names), set(found.unreadable))
        found.withheld = _withheld(known, names, engine.limits.max_delete_fraction)
        gone = [column for column in gone if column.report not in found.withheld]
        found.drift = [] if found.first else drift(known, columns, gone)
        store.write(columns)
        store.remove(gone)
        store.note(found.drift)
    return found


def drift(
    before: Sequence[ReportColumn], after: Sequence[ReportColumn], gone: Sequence[ReportColumn]
) -> list[ReportDrift]:
    """What was added, removed and retyped, by report and column."""
    types = {(column.report, column.column): column.type for column in before}
    changes = [ReportDrift(c.report, c.column, "removed", c.type, "") for c in gone]
    for column in after:
        was = types.get((column.report, column.column))
        if was is None:
            changes.append(ReportDrift(column.report, column.column, "added", "", column.type))
        elif was != column.type:
            changes.append(ReportDrift(column.report, column.column, "retyped", was, column.type))
    return sorted(changes, key=lambda each: (each.report, each.column))


def columns_gone(
    before: Sequence[ReportColumn],
    after: Sequence[ReportColumn],
    listed: set[str],
    unreadable: set[str],
) -> list[ReportColumn]:
    """Columns that are gone: their report was read and lacks them, or is listed no more."""
    present = {(column.report, column.column) for column in after}
    return [
        column
        for column in before
        if (column.report, column.column) not in present
        and not (column.report in listed and column.report in unreadable)
    ]


def _names(engine: SyncContext, tally: RequestCounts) -> list[str]:
    """The reports' names. A list that does not page says the same again, which is its end."""
    query = Query(_LIST, paging=Paging.OFFSET)
    names: dict[str, None] = {}
    while True:
        page = engine.source.ask(query, report_names, tally)
        if names.keys() >= set(page):
            return list(names)
        names.update(dict.fromkeys(page))
        query = query.next_page(None)


def _columns(
    engine: SyncContext, names: Sequence[str], found: ReportSnapshot
) -> list[ReportColumn]:
    columns: dict[str, list[ReportColumn]] = {}
    errors: list[SourceError] = []
    lock = Lock()

    def read(name: str) -> None:
        path = f"{_LIST}/{quote(name, safe='')}/columns"
        try:
            shown = engine.source.get(path, lambda body: report_columns(body, name), found.tally)
        except ENDS_THE_RUN:
            raise
        except SourceError as error:
            with lock:
                errors.append(error)
                found.unreadable[name] = str(error)
            return
        with lock:
            columns[name] = shown

    parallel_tasks(read, names, engine.limits.concurrency)
    if errors and not columns:
        raise errors[0]
    return [column for name in names for column in columns.get(name, [])]


def _withheld(known: Sequence[ReportColumn], names: Sequence[str], fraction: float) -> list[str]:
    before = {column.report for column in known}
    gone = sorted(before - set(names))
    return gone if len(gone) > max(1, fraction * len(before)) else []
