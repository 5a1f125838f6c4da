"""A simulated process: what it sends to the tenant and to Postgres, and what strikes it meanwhile.

A strike is due at so many requests, or so many round trips to the server, after the process began.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import generators, pq
from psycopg.errors import error_from_result

from tests.simulation.trace import statement_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from psycopg.abc import PQGen

    from tests.simulation.clock import Clock
    from tests.simulation.machine import SimulatedMachine
    from tests.simulation.trace import Trace

T = TypeVar("T")

REFUSALS = {
    "57014": "canceling statement due to user request",
    "40P01": "deadlock detected",
    "53100": "could not extend file: No space left on device",
    "25006": "cannot execute in a read-only transaction",
    "55P03": "canceling statement due to lock timeout",
    "53200": "out of memory",
}
"""Errors of the server that may end any statement, by SQLSTATE."""

KILL, CUT, LOSE, CRASH = "kill -9 of the worker", "session ended", "answer lost", "server crash"
"""What else may befall a round trip: the process dies; its session ends before, or after the server
has done what it was sent; the sessions of all end."""

_STATEMENTS = ("_execute_gen", "_start_copy_gen")
"""Steps of the driver that the server may refuse."""


_FORGET = (
    b"close all; set session authorization default; reset all; unlisten *;"
    b" select pg_advisory_unlock_all(); discard sequences; discard temp"
)
"""What `discard all` does, but for prepared statements and their plans."""

_OTHERS = """
select pid from pg_stat_activity where datname = current_database()
    and application_name like 'cw_pipeline%'
"""


class Killed(BaseException):
    """The process is dead: nothing that it would still do is done."""


class Process:
    """One process of the pipeline. `strikes`: what befalls its n-th round trip, by n.

    `happenings`: what happens before its n-th request.
    """

    def __init__(self, name: str, machine: SimulatedMachine) -> None:
        self.name = name
        self.machine = machine
        self.strikes: dict[int, str] = {}
        self.happenings: dict[int, Callable[[], None]] = {}
        self.trips = 0
        self.requests = 0
        self.connections: dict[int, psycopg.Connection[Any]] = {}

    def note_request(self) -> None:
        """One more request is about to be sent."""
        if self.machine.is_off:
            raise Killed
        self.requests += 1
        if happen := self.happenings.pop(self.requests, None):
            happen()
        if self.machine.is_off:
            raise Killed

    @property
    def backends(self) -> list[int]:
        """The server's processes that serve it."""
        live = [each for each in self.connections.values() if not each.closed]
        return [each.info.backend_pid for each in live]


class Driver:
    """The driver of Postgres as processes of the simulation meet it. One process acts at a time."""

    def __init__(self, ops: psycopg.Connection[Any]) -> None:
        self._ops = ops  # of the tests' own: no process has it
        self._thread = threading.get_ident()
        self._wait: Any = psycopg.Connection.wait
        self._connect: Any = vars(psycopg.Connection)["connect"].__func__
        self._close: Any = psycopg.Connection.close
        self._warm: list[tuple[Any, Any]] = []
        self.acting: Process | None = None
        self.clock: Clock
        self.trace: Trace
        self.dice: random.Random
        self.struck = Counter[str]()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """In the block, every round trip of psycopg goes through here."""
        driver = self

        def wait(connection: psycopg.Connection[Any], step: Any, *args: Any, **options: Any) -> Any:
            return driver._round_trip(connection, step, args, options)

        def connect(cls: Any, conninfo: str = "", **options: Any) -> Any:
            return driver._connection(cls, conninfo, options)

        def close(connection: psycopg.Connection[Any]) -> None:
            driver._put_away(connection)

        with (
            _replaced(psycopg.Connection, "wait", wait),
            _replaced(psycopg.Connection, "connect", classmethod(connect)),
            _replaced(psycopg.Connection, "close", close),
        ):
            yield

    @contextmanager
    def acts(self, process: Process) -> Iterator[None]:
        """In the block, it is this process that sends statements."""
        before, self.acting = self.acting, process
        try:
            yield
        finally:
            self.acting = before

    @contextmanager
    def rests(self) -> Iterator[None]:
        """In the block, no process acts: it is the tests that look."""
        before, self.acting = self.acting, None
        try:
            yield
        finally:
            self.acting = before

    def terminate(self, backends: list[int]) -> None:
        """Ends these processes of the server: returns when they are gone."""
        if backends:
            with self.rests():
                query = "select pg_terminate_backend(pid) from unnest(%s::int[]) p (pid)"
                self._ops.execute(query, [backends])
            # The server itself would look ten times a second.
            while any(map(_is_running, backends)):
                time.sleep(0.0005)

    def crash(self) -> None:
        """Ends every session of the database but the tests' own, as a crash of the server does."""
        with self.rests():
            rows = self._ops.execute(_OTHERS).fetchall()
        self.terminate([pid for (pid,) in rows])
        self._warm.clear()  # they are among them

    def kill(self, process: Process) -> None:
        """Ends the process, as by `kill -9`: its connections break, nothing is released."""
        process.machine.is_off = True
        self.terminate(process.backends)

    def _round_trip(self, connection: Any, step: Any, args: Any, options: Any) -> Any:
        process = self.acting
        if process is None:
            return self._wait(connection, step, *args, **options)
        process.connections[id(connection)] = connection
        # Else a connection is opened, and waited for, or nothing is sent.
        if threading.get_ident() != self._thread or _is_local(connection, step):
            return self._wait(connection, step, *args, **options)
        strike = self._begin(process, step)
        if strike in REFUSALS:
            step.close()
            return self._wait(connection, connection._exec_command(_refusal(strike)))
        if strike == CUT:
            self.terminate([connection.info.backend_pid])
        answer = self._wait(connection, step, *args, **options)
        if strike == LOSE:
            self.terminate([connection.info.backend_pid])
            connection.pgconn.finish()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return answer

    def _connection(self, cls: Any, conninfo: str, options: dict[str, Any]) -> Any:
        """A new connection: to a process of the server that served another one, if there is one.

        Who begins with empty caches spends most of a statement on filling them. What was prepared
        stays, too: statements are planned once, and not by each process anew.
        """
        if self.acting is None or not self._warm:
            return self._connect(cls, conninfo, **options)
        own, prepared = self._warm.pop()
        connection = cls(own)
        connection._prepared = prepared
        connection._autocommit = options["autocommit"]
        connection.prepare_threshold = options["prepare_threshold"]
        return connection

    def _put_away(self, connection: Any) -> None:
        """Closes a connection; the server's process is kept for another one if it may be."""
        if connection.closed or self.acting is None:
            return self._close(connection)
        own = connection.pgconn
        if own.transaction_status == pq.TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                self._wait(connection, _forget(connection.pgconn))
                self._warm.append((own, connection._prepared))
                connection.pgconn = _FINISHED
                return None
        # What it holds is given back before anything else happens.
        self.terminate([connection.info.backend_pid])
        return self._close(connection)

    def _begin(self, process: Process, step: Any) -> str:
        """Counts and traces a round trip: what befalls it. Raises Killed."""
        if process.machine.is_off:
            step.close()
            raise Killed
        process.trips += 1
        self.clock.tick(self.dice.uniform(0.0002, 0.004))
        self.trace.add(f"{process.name} {statement_of(step)}")
        strike = process.strikes.pop(process.trips, "")
        if strike in REFUSALS and step.__name__ not in _STATEMENTS:
            process.strikes[process.trips + 1] = strike
            return ""
        if strike:
            self.trace.add(f"{process.name} {strike}")
            self.struck[strike] += 1
        if strike == CRASH:
            self.crash()
        if strike == KILL:
            self.kill(process)
            step.close()
            raise Killed
        return strike


def _forget(own: pq.abc.PGconn) -> PQGen[None]:
    """Brings a session back to where it began, all but its plans. Raises psycopg.Error."""
    own.send_query(_FORGET)
    for result in (yield from generators.execute(own)):
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result)


def _is_running(pid: int) -> bool:
    """Whether a process of this machine is, and has not ended but for its parent's notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_local(connection: Any, step: Any) -> bool:
    """Whether a step sends nothing to the server."""
    is_idle = connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
    return step.__name__.startswith("_set_") or (
        is_idle and step.__name__ in {"_commit_gen", "_rollback_gen"}
    )


def _finished() -> pq.abc.PGconn:
    own = pq.PGconn.connect_start(b"host=/nowhere")
    own.finish()
    return own


_FINISHED = _finished()


def _refusal(state: str) -> bytes:
    said = REFUSALS[state]
    return f"do $$ begin raise exception '{said}' using errcode = '{state}'; end $$".encode()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
