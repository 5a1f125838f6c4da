"""One tenant's part of a Postgres database, over connections that threads and tenants share.

with Database(dsn, schema) as database, database.transaction() as connection: ...
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
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
    from contextlib import AbstractContextManager
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
        self._address = address
        self._patience = patience or Patience()
        self._max = max_connections
        self._first: Session | None = None
        self._failure: WarehouseError | None = None
        self._hidden: frozenset[str] = frozenset()
        self._pool: ConnectionPool[Session] | None = None

    def __enter__(self) -> Self:
        self._hidden = passwords(parse_address(self._address))
        self._first = connect(self._address, autocommit=True, patience=self._patience)
        try:
            with named_failures(self._hidden):  # a server may go away between two statements
                size = self._size(self._first)
        except BaseException:
            self._first.close()
            raise
        self._pool = ConnectionPool(
            min_size=0,
            max_size=size,
            timeout=PATIENCE,
            connection_class=_PooledSession,
            kwargs={"open_session": self._open},
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
        if self._first is not None:
            self._first.close()

    @contextmanager
    def connection(self) -> Iterator[Session]:
        """An autocommit connection. Database errors come out as WarehouseError.

        Through a pooler its statements run with what the role sets by default, so what writes, or
        reads more than keys and figures, takes a transaction.
        """
        assert self._pool is not None, "used outside of its block"
        with named_failures(self._hidden):
            try:
                with self._pool.connection() as session, self._in_use(session):
                    yield session
            except PoolTimeout:
                raise self._timed_out() from None

    @contextmanager
    def aside(self) -> Iterator[Session]:
        """The same for a short look or a note that must not wait until others end their work.

        Where all connections are in use, it is one more, if the server gives it.
        """
        assert self._pool is not None, "used outside of its block"
        with named_failures(self._hidden), ExitStack() as stack:
            try:
                session = stack.enter_context(self._pool.connection(_ASIDE))
            except PoolTimeout:
                session = stack.enter_context(connect(self._address, autocommit=True))
            with self._in_use(session):
                yield session

    @contextmanager
    def _in_use(self, session: Session) -> Iterator[None]:
        session.taken_at = self._machine.monotonic()
        try:
            with name_lock_waits(session, self.aside, self._patience):
                yield
        finally:
            if session.pooled:  # whoever takes it next may have another process of the server
                session.backend = None

    def _open(self) -> Session:
        """Called by the pool, in a thread of its own."""
        session, self._first = self._first, None
        if session is not None:
            return session
        try:
            session = connect(self._address, autocommit=True, patience=self._patience)
        except WarehouseError as error:
            self._failure = error
            raise
        self._failure = None
        return session

    def _check(self, session: Session) -> None:
        """Checks a connection that was idle for 10 seconds: each check costs a statement."""
        if self._machine.monotonic() - session.taken_at > _TRUSTED:
            ConnectionPool.check_connection(session)

    def _size(self, session: Session) -> int:
        """How many connections there may be. Raises WarehouseError if those are too few."""
        if self._max == 1:
            return 1  # it is open already, so there is nothing to ask
        try:
            row = session.execute(
                "select nullif(rolconnlimit, -1), nullif(datconnlimit, -1)"
                " from pg_roles, pg_database"
                " where rolname = session_user and datname = current_database()"
            ).fetchone()
        except errors.InsufficientPrivilege:  # hardened servers hide these
            row = None
        limits: list[int] = [limit for limit in row or () if limit is not None]
        if not session.pooled and limits and min(limits) < CONNECTIONS_NEEDED:
            user, database = session.info.user, session.info.dbname
            raise WarehouseError(
                f"role {user} may open {min(limits)} connection to the database {database}, and a"
                f" process needs {CONNECTIONS_NEEDED}: alter role {user} connection limit -1, or"
                f" alter database {database} connection limit -1"
            )
        return min([self._max, *limits])

    def _timed_out(self) -> WarehouseError:
        if self._failure is not None:
            return self._failure
        return WarehouseError(
            f"all connections to the warehouse were in use for {PATIENCE:.0f} s: raise"
            " CW_MAX_CONNECTIONS, or lower CW_MAX_CONCURRENCY"
        )


class Database:
    """One tenant's part of a Postgres database, which threads share. A context manager.

    `tenant` is the schema of its tables. It has connections of its own, as `Connections` has them,
    unless in place of an address it is given those that several tenants share: they are left open.
    Entities in `locked` could not be prepared because somebody has locked their tables, so they are
    not to be written to: no run of them begins. `leases` are the rights to run an entity that this
    process has.
    """

    def __init__(
        self,
        address: str | Connections,
        tenant: str,
        *,
        max_connections: int = 16,
        lease_span: timedelta = SPAN,
        patience: Patience | None = None,
        machine: Machine = THIS,
    ) -> None:
        self.tenant = tenant
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
        # Not behind transactions that wait for somebody, or a lease would end meanwhile.
        self.leases = Leases(self.aside, tenant, lease_span, machine)

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

    def connection(self) -> AbstractContextManager[Session]:
        """As `Connections.connection`."""
        return self._connections.connection()

    def aside(self) -> AbstractContextManager[Session]:
        """As `Connections.aside`."""
        return self._connections.aside()

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
    """What the pool believes to open."""

    @classmethod
    @override
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
        return kwargs["open_session"]()
