"""Dagster's SQLite storage, quick enough for an asset per entity.

As it comes, it opens and closes a database file for each event, which costs 10 to 30 ms: a first
load that has a hundred months of a hundred entities to report would write events for minutes. This
one keeps files open and writes a batch of materializations in one transaction, as the Postgres
storage does.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterEventType
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from typing_extensions import override

from cw_pipeline.embedded.account import alone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagster import EventLogEntry
    from dagster._serdes import ConfigurableClassData
    from sqlalchemy import Connection, Engine

_KEPT_OPEN = 8  # files: the index and the runs that are being written or looked at


class BatchingSqliteEvents(SqliteEventLogStorage):
    """Dagster's events in SQLite files that stay open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @override
    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        shared = {(e.run_id, e.dagster_event_type, e.get_dagster_event().asset_key) for e in events}
        run_id, kind, _ = next(iter(shared))
        if len(shared) > 1 or kind is not DagsterEventType.ASSET_MATERIALIZATION:
            super().store_event_batch(events)
            return
        rows = [self._event_to_row(event) for event in events]
        if run_id != RUNLESS_RUN_ID:  # of those, Dagster reads the index alone
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), rows)
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id)
        with self.index_connection() as connection:
            ids = [int(row[0]) for row in connection.execute(insert, rows)]
            self._store_asset_event_tags(connection, events, ids)
            self._store_asset_event(connection, events[-1], max(ids))

    @override
    def delete_events(self, run_id: str) -> None:
        super().delete_events(run_id)
        with self._db_lock:
            if engine := self._engines.pop(run_id, None):
                engine.dispose()
            self._initialized_dbs.discard(run_id)
        for ending in ("", "-wal", "-shm"):  # the run's file, which Dagster leaves behind
            Path(self.path_for_shard(run_id) + ending).unlink(missing_ok=True)

    @override
    def dispose(self) -> None:
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()

    @contextmanager
    @override
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                # With a write-ahead log this cannot corrupt; a power cut may lose the last events.
                connection.exec_driver_sql("pragma synchronous = normal")
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            # A run that was deleted and written to again has another file by the same name.
            url = self.conn_string_for_shard(shard)
            timeout = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            self._engines[shard] = create_engine(url, connect_args=timeout)
        self._engines.move_to_end(shard)
        if len(self._engines) > _KEPT_OPEN:
            self._engines.popitem(last=False)[1].dispose()
        return self._engines[shard]


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
