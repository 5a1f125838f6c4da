"""The warehouse: connections, who holds an entity, and the transaction of batch and checkpoint."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from cw_pipeline.database import Pool
from cw_pipeline.errors import EntityBusy
from cw_pipeline.load import state
from cw_pipeline.load.budget import Budget
from cw_pipeline.load.fields import Fields
from cw_pipeline.load.hold import Hold
from cw_pipeline.load.promotions import entities_with_promotions
from cw_pipeline.load.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from psycopg import Connection

    from cw_pipeline.model import Entity

_LIVE = ("refresh", "full")
_BESIDE = ("backfill", "reconcile", "reread", "replay")  # held beside the live pass


class Warehouse:
    """One tenant's part of a Postgres database. A context manager."""

    def __init__(self, dsn: str, tenant: str, *, max_connections: int = 16) -> None:
        self.tenant = tenant
        self._pool = Pool(dsn, max_connections)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """An autocommit connection. Database errors come out as WarehouseError.

        Through a pooler its statements run with what the role sets by default, so what writes, or
        reads more than keys and figures, takes a transaction.
        """
        with self._pool.connection() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """A connection inside a transaction: all of the block, or nothing of it."""
        with self._pool.transaction() as connection:
            yield connection

    def was_readable(self, entity: Entity) -> bool:
        """Whether the entity's list was ever read to its end.

        Not what was seen last: a role that shrank would be forgiven after one night.
        """
        with self.connection() as connection:
            return state.was_readable(connection, self.tenant, entity.name)

    @contextmanager
    def sweep(self, entity: Entity) -> Iterator[Sweep]:
        """A place for the ids and stamps of a sweep, on a connection of its own."""
        with self.connection() as connection:
            try:
                yield Sweep(connection, self.tenant, entity)
            finally:
                if not connection.closed:
                    connection.execute("drop table if exists pg_temp.swept")

    def budget(self, per_minute: int, *, yielding: bool = False) -> Budget:
        """The tenant's request budget, shared with its other processes."""
        return Budget(self.connection, self.tenant, per_minute, yielding=yielding)

    @contextmanager
    def hold(self, entity: Entity, kind: str, dagster_run_id: str | None = None) -> Iterator[Hold]:
        """Sole use of an entity's pass, until the block or this process ends.

        A backfill and a reconcile hold an entity beside the live pass: `kind` is part of the key.
        The hold's entity has the columns promoted until now, which stay until the hold ends.
        Raises EntityBusy, naming who holds it.
        """
        purpose = kind if kind in _BESIDE else "pass"
        key = f"{self.tenant}/{purpose}/{entity.name}"
        with self.connection() as connection:
            _take(connection, key, entity)
            try:
                (own,) = entities_with_promotions(connection, self.tenant, [entity])
                kinds = _LIVE if purpose == "pass" else (kind,)
                state.end_dead_runs(connection, self.tenant, entity.name, kinds)
                run_id = state.start_run(connection, self.tenant, entity.name, kind, dagster_run_id)
                yield Hold(self, own, run_id)
            finally:
                if not connection.closed:
                    connection.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", [key])

    @contextmanager
    def alone(self, entity: Entity) -> Iterator[Fields]:
        """The entity's fields, in a transaction during which nobody reads it in, in any way.

        Raises EntityBusy, naming who does.
        """
        with self.transaction() as connection:
            for purpose in ("pass", *_BESIDE):
                _take(connection, f"{self.tenant}/{purpose}/{entity.name}", entity, "_xact")
            yield Fields(connection, self.tenant, entity)


def _take(connection: Connection[Any], key: str, entity: Entity, scope: str = "") -> None:
    row = connection.execute(
        f"select pg_try_advisory{scope}_lock(hashtextextended(%s, 0))", [key]
    ).fetchone()
    if not (row and row[0]):
        raise EntityBusy(f"{entity.name}: {_holder(connection, key)} holds it; let it finish")


def _holder(connection: Connection[Any], key: str) -> str:
    row = connection.execute(
        "select a.application_name, l.pid, to_char(a.backend_start, 'HH24:MI:SS')"
        " from pg_locks l join pg_stat_activity a using (pid)"
        " where l.locktype = 'advisory' and l.objsubid = 1 and l.granted"
        " and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%s, 0)",
        [key],
    ).fetchone()
    return f"{row[0]} (since {row[2]} UTC)" if row else "another runner"
