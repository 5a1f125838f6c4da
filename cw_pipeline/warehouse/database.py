"""One tenant's part of a Postgres database, over connections that threads and tenants share.

with Database(dsn, schema) as database, database.transaction() as connection: ...
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from psycopg import errors
from psycopg_pool import ConnectionPool, PoolTimeout
from typing_extensions import override

from cw_pipeline.address import parse_address, passwords
from cw_pipeline.errors import WarehouseError
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.warehouse.connections import CONNECTIONS_NEEDED, Session, connect, named_failures
from cw_pipeline.warehouse.lease import SPAN, Leases, fence
from cw_pipeline.warehouse.lock_waits import Patience, name_lock_waits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from types import TracebackType

    from cw_pipeline.errors import WarehouseLocked

PATIENCE = 60.0
"""Seconds for which a thread waits for a connection of the pool."""

_ASIDE = 2.0  # seconds for which a connection of the pool is waited for, before one more is opened
_TRUSTED = 10.0  # seconds for which an idle connection is believed to be alive


class Connections:
    """Connections to a Postgres database, which threads share. A context manager.

    They are opened as they are needed: at most `max_connections`, and no more than role and
    database may open; a server that gives fewer is used with what it gives. Entering it opens the
    first one, so that a server that cannot be used is refused at once. `patience` is for what other
    sessions have locked.
    """

    def __init__(
        self,
        address: str,
        *,
        max_connections: int = 16,
        patience: Patience | None = None,
        machine: Machine = THIS,
    ) -> None:
        self._machine = machine
        self.address = address
        self.patience = patience or Patience()
        self._max = max_connections
        self.unused: Session | None = None  # the first one, until the pool takes it
        self.failure: WarehouseError | None = None  # of the latest try to open one
        self._hidden: frozenset[str] = frozenset()
        self._pool: ConnectionPool[Session] | None = None
        self.aside = partial(self.connection, aside=True)  # one object, by which waits are grouped

    def __enter__(self) -> Self:
        self._hidden = passwords(parse_address(self.address))
        first = self.unused = connect(self.address, autocommit=True, patience=self.patience)
        limits: list[int] = []
        with ExitStack() as stack:
            stack.callback(first.close)
            if self._max > 1:  # else it is open already, so there is nothing to ask
                # Hardened servers hide these; and a server may go away between two statements.
                with named_failures(self._hidden), suppress(errors.InsufficientPrivilege):
                    row = first.execute(
                        "select nullif(rolconnlimit, -1), nullif(datconnlimit, -1)"
                        " from pg_roles, pg_database"
                        " where rolname = session_user and datname = current_database()"
                    ).fetchone()
                    limits += [limit for limit in row or () if limit is not None]
            if not first.pooled and limits and min(limits) < CONNECTIONS_NEEDED:
                user, database = first.info.user, first.info.dbname
                raise WarehouseError(
                    f"role {user} may open {min(limits)} connection to the database {database}, and"
                    f" a process needs {CONNECTIONS_NEEDED}: alter role {user} connection limit -1,"
                    f" or alter database {database} connection limit -1"
                )
            stack.pop_all()
        self._pool = ConnectionPool(
            min_size=0,
            max_idle=15,  # one in so many seconds is closed: each holds 5 to 40 MB on the server
            max_size=min([self._max, *limits]),
            timeout=PATIENCE,
            connection_class=_PooledSession,
            kwargs={"connections": self},
            check=self._check,
            open=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.close()
        if self.unused is not None:
            self.unused.close()

    @contextmanager
    def connection(self, *, aside: bool = False) -> Iterator[Session]:
        """An autocommit connection. Database errors come out as WarehouseError.

        Through a pooler its statements run with what the role sets by default, so what writes, or
        reads more than keys and figures, takes a transaction. `aside`: for a short look or a note
        that must not wait until others end their work; where all connections are in use, it is one
        more, if the server gives it.
        """
        assert self._pool is not None, "used outside of its block"
        with named_failures(self._hidden), ExitStack() as stack:
            try:
                pooled = self._pool.connection(_ASIDE if aside else None)
                session = stack.enter_context(pooled)
            except PoolTimeout:
                if not aside:
                    raise self._timed_out() from None
                session = stack.enter_context(connect(self.address, autocommit=True))
            session.taken_at = self._machine.monotonic()
            try:
                with name_lock_waits(session, self.aside, self.patience):
                    yield session
            finally:
                if session.pooled:  # whoever takes it next may have another process of the server
                    session.backend = None

    def _check(self, session: Session) -> None:
        """Checks a connection that was idle for 10 seconds: each check costs a statement."""
        if self._machine.monotonic() - session.taken_at > _TRUSTED:
            ConnectionPool.check_connection(session)

    def _timed_out(self) -> WarehouseError:
        if self.failure is not None:
            return self.failure
        return WarehouseError(
            f"all connections to the warehouse were in use for {PATIENCE:.0f} s: raise"
            " CW_MAX_CONNECTIONS, or lower CW_MAX_CONCURRENCY"
        )


class Database:
    """One tenant's part of a Postgres database, which threads share. A context manager.

    `schema` is that of its tables. `connection` and `aside` open connections of its own, as
    `Connections` has them, unless in place of an address it is given those that several tenants
    share: they are left open. Entities in `locked` could not be prepared because somebody has
    locked their tables, so they are not to be written to: no run of them begins. `leases` are the
    rights to run an entity that this process has.
    """

    def __init__(
        self,
        address: str | Connections,
        schema: str,
        *,
        max_connections: int = 16,
        lease_span: timedelta = SPAN,
        patience: Patience | None = None,
        machine: Machine = THIS,
    ) -> None:
        self.schema = schema
        self.locked: dict[str, WarehouseLocked] = {}
        self._own = ExitStack()
        self._is_sharing = isinstance(address, Connections)
        self._connections = (
            address
            if isinstance(address, Connections)
            else Connections(
                address, max_connections=max_connections, patience=patience, machine=machine
            )
        )
        self.connection, self.aside = self._connections.connection, self._connections.aside
        # Not behind transactions that wait for somebody, or a lease would end meanwhile.
        self.leases = Leases(self.aside, schema, lease_span, machine)

    def __enter__(self) -> Self:
        if not self._is_sharing:
            self._own.enter_context(self._connections)
        self._own.callback(self.leases.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._own.close()

    @contextmanager
    def transaction(self, run_id: int | None = None) -> Iterator[Session]:
        """A connection inside a transaction: all of the block, or nothing of it.

        With a `run_id` it is one of that run: nobody takes its lease over until it ends. Raises
        EntityBusy if somebody has.
        """
        with self.connection() as session, session.transaction():
            session.pin()
            if run_id is not None:
                fence(session, run_id)
            yield session


class _PooledSession(Session):
    """What the pool believes to open. It does so in a thread of its own."""

    @classmethod
    @override
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
        shared: Connections = kwargs["connections"]
        session, shared.unused = shared.unused, None
        if session is not None:
            return session
        try:
            session = connect(shared.address, autocommit=True, patience=shared.patience)
        except WarehouseError as error:
            shared.failure = error
            raise
        shared.failure = None
        return session
