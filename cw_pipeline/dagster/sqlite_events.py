"""Dagster's SQLite storage, quick enough for an asset per entity.

As it comes, it opens and closes a database file for each event, which costs 10 to 30 ms: a first
load that has a hundred months of a hundred entities to report would write events for minutes. This
one keeps files open and writes a batch of materializations in one transaction, as the Postgres
storage does.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
)
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from typing_extensions import override

from cw_pipeline.dev.account import alone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dagster import EventLogEntry
    from dagster._serdes import ConfigurableClassData
    from sqlalchemy import Connection, Engine

_INDEXED = {*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS}
_INSERT = SqlEventLogStorageTable.insert().returning(
    SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
)
_KEPT_OPEN = 8  # files: the index and the runs that are being written or looked at


class BatchingSqliteEvents(SqliteEventLogStorage):
    """Dagster's events in SQLite files that stay open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open: OrderedDict[str, Connection] = OrderedDict()
        self._tables: set[str] = set()
        self._columns: set[str] = set()
        super().__init__(base_dir, inst_data)
        self._db_lock = RLock()  # type: ignore[assignment] # it is only ever entered

    @override
    def store_event(self, event: EventLogEntry) -> None:
        self._store([event])

    @override
    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        for _, own in groupby(events, key=lambda event: event.run_id):
            self._store(list(own))

    def _store(self, events: Sequence[EventLogEntry]) -> None:
        """Writes events of one run, in a transaction for each file that they belong in."""
        rows = [self._event_to_row(event) for event in events]
        indexed = [
            (event, row)
            for event, row in zip(events, rows, strict=True)
            if event.dagster_event_type in _INDEXED
        ]
        # Of a run that is none, Dagster reads the index alone.
        if not indexed or events[0].run_id != RUNLESS_RUN_ID:
            with self.run_connection(events[0].run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), rows)
        if indexed:
            with self.index_connection() as connection:
                found = connection.execute(_INSERT, [row for _, row in indexed])
                self._index(
                    connection,
                    {int(own): e for own, (e, _) in zip(found.scalars(), indexed, strict=True)},
                )

    def _index(self, connection: Connection, events: Mapping[int, EventLogEntry]) -> None:
        """Brings what Dagster knows of assets and checks up to date with events, by their ids."""
        tagged = {own: e for own, e in events.items() if e.dagster_event_type in ASSET_EVENTS}
        self._store_asset_event_tags(connection, [*tagged.values()], [*tagged])
        latest = {
            (e.dagster_event_type, e.get_dagster_event().asset_key): own
            for own, e in tagged.items()
        }
        for own in latest.values():
            self._store_asset_event(connection, events[own], own)
        for own, event in events.items():
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, own)

    @override
    def has_table(self, table_name: str) -> bool:
        """Asked for each event; a table that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    @override
    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(
            conn, column_name
        ):
            self._columns.add(column_name)
        return column_name in self._columns

    @override
    def delete_events(self, run_id: str) -> None:
        super().delete_events(run_id)
        with self._db_lock:
            if connection := self._open.pop(run_id, None):
                _close(connection)
            self._initialized_dbs.discard(run_id)
        for ending in ("", "-wal", "-shm"):  # the run's file, which Dagster leaves behind
            Path(self.path_for_shard(run_id) + ending).unlink(missing_ok=True)

    @override
    def dispose(self) -> None:
        while self._open:
            _close(self._open.popitem()[1])
        super().dispose()

    @contextmanager
    @override
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            connection = self._opened(shard)
            # What Dagster asks for while one is open belongs in the same transaction.
            with nullcontext() if connection.in_transaction() else connection.begin():
                yield connection

    def _opened(self, shard: str) -> Connection:
        """The connection to a file; the one that was longest unused makes room for it."""
        if shard not in self._open:
            # A run that was deleted and written to again has another file by the same name.
            url = self.conn_string_for_shard(shard)
            engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._open[shard] = engine.connect()
            # With a write-ahead log this cannot corrupt; a power cut may lose the last events.
            self._open[shard].exec_driver_sql("pragma synchronous = normal")
            self._open[shard].commit()
        self._open.move_to_end(shard)
        if len(self._open) > _KEPT_OPEN:
            _close(self._open.popitem(last=False)[1])
        return self._open[shard]


def _close(connection: Connection) -> None:
    connection.close()
    connection.engine.dispose()


class OpenSqliteRuns(SqliteRunStorage):
    """Dagster's runs in an SQLite file that stays open."""

    _engine: Engine | None = None

    @contextmanager
    @override
    def connect(self) -> Iterator[Connection]:
        if self._engine is None:
            self._engine = create_engine(self._conn_string)
        with self._engine.begin() as connection:
            yield connection

    @override
    def dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        super().dispose()


class BatchingSqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage with both of these in it."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        Path(base_dir).mkdir(parents=True, exist_ok=True)
        # Two that come first at once would both note a version, and none could read two.
        with alone(Path(base_dir, ".lock")):
            super().__init__(base_dir, inst_data)
            history = Path(base_dir, "history")
            self._run_storage = OpenSqliteRuns.from_local(str(history), inst_data)
            self._event_log_storage = BatchingSqliteEvents(str(history / "runs"), inst_data)
