"""Every connection to Postgres: opening it, pinning its settings, naming what goes wrong.

    with transaction(dsn) as connection: ...     # one connection, one transaction

Threads share connections by `warehouse.database`.

Results must not depend on what a role, a database or a server sets by default, so each connection
pins what they depend on. Where a pooler in transaction mode (PgBouncer, Supabase, Neon) stands
between, consecutive transactions meet different server connections, and what one sets for its
session another client finds. There the settings are made anew in each transaction, for it alone,
and no statement is prepared.
"""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, pq, sql
from psycopg.conninfo import make_conninfo
from typing_extensions import override

from cw_pipeline.address import parse_address, passwords, redact
from cw_pipeline.errors import DataRefused, EntityBusy, WarehouseError
from cw_pipeline.paths import cli_command
from cw_pipeline.warehouse.lock_waits import Patience, name_lock_waits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import sqlalchemy as sa
    from psycopg import Connection

OLDEST_SERVER = 15
"""The major version that the state schema needs: `unique … nulls not distinct` came with it."""

CONNECTIONS_NEEDED = 2
"""A pass holds one connection while the views that follow it are made over another."""

_TRANSACTION_TIMEOUT = 170_000  # the server version that has it

_REPORTED = {"DateStyle": "ISO, MDY", "TimeZone": "UTC", "standard_conforming_strings": "on"}
"""Settings that the server tells its client of. Poolers keep them for each client."""

_PINNED = {
    "IntervalStyle": "postgres",
    "cw_pipeline.writes": "on",  # what others change is marked, see `cw_sync.note_hand_edit`
    "search_path": "pg_catalog, public",
    "statement_timeout": "0",  # a first load's statements take as long as they take
    "idle_in_transaction_session_timeout": "5min",  # a stopped process must not keep its locks
    "array_nulls": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "transform_null_equals": "off",
}
_SESSION_ONLY = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "idle_session_timeout": "0",
}
"""What BEGIN says anyway, or makes no sense for a transaction."""

_DECISIVE = (
    "default_transaction_isolation",
    "default_transaction_read_only",
    "IntervalStyle",
    "array_nulls",
    "quote_all_identifiers",
)
"""What a single statement outside of a transaction may depend on."""

_ABOUT_DATA = ("21", "22", "23", "38", "39", "44", "45", "54", "P0")
"""Classes of SQLSTATE of refused data: what no type, constraint, index page or stack holds, and
what a trigger raises (PostgreSQL manual, appendix A)."""

_KEEPALIVES = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}


class Session(psycopg.Connection[Any]):
    """A connection whose settings are ours."""

    pooled = False
    """Whether a pooler stands between, so that only a transaction has a server connection."""

    taken_at = float("-inf")
    """When it was opened, or last taken out of a pool, on our clock."""

    backend: int | None = None
    """The server's process that has it, or its transaction; None where that is not known."""

    patience = Patience()
    """How long it waits for what other sessions have locked."""

    unusual = False
    """Whether role or database set otherwise what changes results, or forbids to write."""

    application = ""
    """The name that the server knows this process by."""

    pinned: Mapping[str, str] = {}
    """What every transaction must have set."""

    def pin(self) -> None:
        """Pins this transaction's settings, where the session could not be pinned as a whole."""
        if self.pooled:
            pinned = self.pinned.items()
            calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in pinned)
            row = self.execute(f"select pg_backend_pid(), {calls}").fetchone()
            self.backend = row and row[0]

    @override
    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
        """Through a pooler, a statement outside of transactions takes one where it must."""
        alone = self.pooled and self.unusual and self.autocommit
        if alone and self.info.transaction_status == pq.TransactionStatus.IDLE:
            with self.transaction():
                self.pin()
                cursor = super().execute(*args, **kwargs)
            self.backend = None
            return cursor
        return super().execute(*args, **kwargs)


def connect(
    address: str,
    *,
    autocommit: bool = False,
    read_only: bool = False,
    patience: Patience | None = None,
) -> Session:
    """An open connection with pinned settings; the caller closes it.

    `read_only` works on standbys too. Waits for locks end after `patience.give_up_after`. Raises
    ConfigError for an address that makes no sense, and WarehouseError that says why the server
    cannot be reached, or cannot hold a warehouse: it is older than OLDEST_SERVER, or the database's
    encoding is not UTF8.
    """
    parameters = parse_address(address)
    hidden = passwords(parameters)
    asked = {"connect_timeout": "10", **_KEEPALIVES, **parameters}
    application = f"cw_pipeline {socket.gethostname()}:{os.getpid()}"[:63]
    asked |= {"application_name": application, "client_encoding": "UTF8"}
    try:
        session = Session.connect(
            make_conninfo("", **asked), autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        raise _unreachable(error, parameters, hidden) from None
    session.application, session.patience = application, patience or session.patience
    # A wait for a lock ends in the server.
    lock_timeout = f"{session.patience.give_up_after * 1000:.0f}ms"
    session.pinned = _PINNED | {"lock_timeout": lock_timeout}
    try:
        _refuse_unfit(session)
        with named_failures(hidden):
            # All in one statement, which finds out too whether the session is ours alone. Poolers
            # tell each client a process number of their own. Who was told the server's number has
            # the server's process to himself, so that nobody else meets what is set there.
            alone = f"pg_backend_pid() = {session.info.backend_pid}"
            pinned = {**session.pinned, **_SESSION_ONLY}
            if session.info.server_version >= _TRANSACTION_TIMEOUT:
                pinned["transaction_timeout"] = "0"
            reported = (f"set_config('{n}', '{value}', false)" for n, value in _REPORTED.items())
            if_alone = (
                f"case when {alone} then set_config('{name}', '{value}', false) end"
                for name, value in pinned.items()
            )
            usual = " and ".join(f"current_setting('{n}') = '{pinned[n]}'" for n in _DECISIVE)
            row = session.execute(
                f"select {', '.join((alone, usual, *reported, *if_alone))}"
            ).fetchone()
            session.pooled, session.unusual = row is None or not row[0], row is None or not row[1]
            if not session.pooled:
                session.backend = session.info.backend_pid
                session.prepare_threshold = 5  # psycopg's own: what is asked often is planned once
            session.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            session.read_only = read_only
            session.autocommit = autocommit
        session.taken_at = time.monotonic()
    except BaseException:
        session.close()
        raise
    return session


def _refuse_unfit(session: Session) -> None:
    """Known from the start of the connection: this asks nothing of most servers."""
    server_version = session.info.server_version
    if server_version < OLDEST_SERVER * 10_000:
        version = f"{server_version // 10_000}.{server_version % 10_000}"
        raise WarehouseError(
            f"the warehouse's server is PostgreSQL {version}, and {OLDEST_SERVER} or newer is"
            " needed: upgrade it, or name another one in CW_WAREHOUSE_DSN"
        )
    encoding = session.info.parameter_status("server_encoding")
    if encoding is None:  # a pooler that does not pass it on
        (encoding,) = session.execute("select current_setting('server_encoding')").fetchone() or (
            "",
        )
    if encoding != "UTF8":
        name = session.info.dbname
        raise WarehouseError(
            f"the database {name} has the encoding {encoding}, in which not every name and note can"
            " be stored. Make one for the warehouse, for example: create database warehouse"
            " encoding 'UTF8' template template0; and name it in CW_WAREHOUSE_DSN"
        )


@contextmanager
def transaction(address: str, *, read_only: bool = False) -> Iterator[Connection[Any]]:
    """A connection of its own inside a transaction. Database errors come out as WarehouseError."""
    hidden = passwords(parse_address(address))
    with (
        named_failures(hidden),
        connect(address, read_only=read_only) as session,
        _name_lock_waits(session, address),
    ):
        session.pin()
        yield session


@contextmanager
def sqlalchemy_transaction(address: str) -> Iterator[sa.Connection]:
    """The same for SQLAlchemy. No URL is made: its own parser reads fewer addresses."""
    # Here, because whoever only reads frames and reports needs none of it: 0.2 s.
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    hidden = passwords(parse_address(address))
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(address),
        poolclass=NullPool,
        use_native_hstore=False,  # asks for its type at each connection
    )
    try:
        with engine.begin() as connection:
            driver: Any = connection.connection.driver_connection
            with _name_lock_waits(driver, address):
                driver.pin()
                yield connection
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise _explain(cause or error, hidden) from _harmless(error, hidden)


@contextmanager
def _name_lock_waits(session: Session, address: str) -> Iterator[None]:
    with name_lock_waits(session, lambda: connect(address, autocommit=True), session.patience):
        yield


def describe_server(address: str) -> str:
    """What answers at an address: `PostgreSQL 17.2 at db.example.com:5432, database warehouse`.

    It is where service files and `PG*` variables led to. Raises as `connect` does.
    """
    with connect(address, read_only=True) as session:
        info = session.info
        version = info.parameter_status("server_version") or str(info.server_version)
        # A socket's folder is an address, too.
        place = info.host if info.host.startswith("/") else f"{info.host}:{info.port}"
        pooler = ", through a pooler" if session.pooled else ""
        return (
            f"PostgreSQL {version.split()[0]} at {place}, database {info.dbname}, user"
            f" {info.user}{pooler}"
        )


def create_schemas(connection: Connection[Any], *schemas: str) -> None:
    """Creates the schemas that are missing. Where all are there, no right to do so is needed.

    Raises WarehouseError that names every right that the role lacks, with the GRANT that gives it.
    """
    rows = connection.execute(_RIGHTS, [list(schemas)]).fetchall()
    lacking = [grant for _, grants, _ in rows for grant in grants]
    if lacking:
        raise WarehouseError(
            f"the role {connection.info.user} lacks rights in the warehouse. Let an administrator"
            f" run in that database: {'; '.join(dict.fromkeys(lacking))}"
        )
    for schema, _, exists in rows:
        if not exists:
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))


_RIGHTS = """
select s.name, array_remove(array[
    case when not has_database_privilege(current_database(), 'temporary') then
        format('grant temporary on database %%I to %%I', current_database(), current_user) end,
    case when n.oid is null and not has_database_privilege(current_database(), 'create') then
        format('create schema %%I authorization %%I', s.name, current_user) end,
    case when not has_schema_privilege(n.oid, 'usage') or not has_schema_privilege(n.oid, 'create')
        then format('grant usage, create on schema %%I to %%I', s.name, current_user) end
], null), n.oid is not null
from unnest(%s::text[]) s (name)
left join pg_namespace n on n.nspname = s.name
"""


@contextmanager
def named_failures(hidden: Iterable[str]) -> Iterator[None]:
    """Raises database errors of its block as WarehouseError, without the `hidden` secrets."""
    try:
        yield
    except psycopg.Error as error:
        raise _explain(error, hidden) from _harmless(error, hidden)


def _explain(error: BaseException, hidden: Iterable[str]) -> WarehouseError | EntityBusy:
    """What went wrong in the warehouse, and what to do about it."""
    text = redact(_text(error), hidden)
    state = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    if state == "CW001":  # raised by `cw_sync.fence`
        return EntityBusy(text)
    if isinstance(error, psycopg.Error) and state.startswith(_ABOUT_DATA):
        return DataRefused(f"the warehouse refused a value: {text}", _column(error))
    return WarehouseError(_advice(error, text))


def _advice(error: BaseException, text: str) -> str:
    match error:
        case errors.IdleInTransactionSessionTimeout() | errors.AdminShutdown():
            advice = (
                f"the server ended a connection in the middle of its work: {text}. Nothing of the"
                " open batch was kept; run it again, and it goes on from there"
            )
        case errors.DeadlockDetected():
            advice = (
                f"another session and ours waited for each other, so the server ended ours: {text}"
                " Nothing of the open batch was kept; run it again, and it goes on from there"
            )
        case errors.DependentObjectsStillExist():
            advice = (
                f"a view of your own stands in the way of a new version: {text}. Drop it, run"
                " `migrate`, create it again; keep it in a schema of your own"
            )
        case errors.UndefinedTable():
            advice = f"a table is read that is not there: {text}. Run `migrate`"
        case errors.InsufficientPrivilege():
            advice = (
                f"the warehouse refused: {text}. `{cli_command('check')}` names the missing GRANT"
            )
        case errors.ReadOnlySqlTransaction():
            advice = (
                f"the warehouse takes no changes: {text}. If it is a standby, name the primary in"
                " CW_WAREHOUSE_DSN"
            )
        case _:
            advice = f"the warehouse failed: {text}"
    return advice


def _column(error: psycopg.Error) -> str:
    """The column that an error is about; empty if it does not say."""
    if error.diag.column_name:
        return error.diag.column_name
    # `COPY service_tickets, line 3, column summary: "..."`, in the server's language.
    context = (error.diag.context or "").partition("\n")[0]
    match = re.match(r"COPY \S+, \S+ \d+, \S+ (\w+)", context)
    return match[1] if match else ""


def _unreachable(
    error: psycopg.Error, parameters: Mapping[str, str], hidden: Iterable[str]
) -> WarehouseError:
    hint = ""
    if "options" in parameters or os.environ.get("PGOPTIONS"):
        hint = (
            ". A pooler such as PgBouncer refuses the `options` that the address (or PGOPTIONS) has"
        )
    return WarehouseError(
        f"the warehouse cannot be reached ({redact(_text(error), hidden)}): check"
        " CW_WAREHOUSE_DSN, and that the server runs, lets this machine in, and has connections"
        f" left (a process needs {CONNECTIONS_NEEDED}){hint}"
    )


def _text(error: BaseException) -> str:
    said = str(error)
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        said = f"{error.diag.message_primary} {error.diag.message_detail or ''}"
    return " ".join(said.split())


def _harmless(error: BaseException, hidden: Iterable[str]) -> BaseException | None:
    """The error as the cause of another, unless a traceback would print a secret with it."""
    said = str(error)
    return error if redact(said, hidden) == said else None
