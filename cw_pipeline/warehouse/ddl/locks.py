"""Locks on what others read: asked for briefly and again, so that nobody queues behind us.

A statement that changes a view waits until every open transaction that has read it ends, and
whoever wants to read it after that waits behind the statement. So we wait half a second at most,
give everything back, let the others through, and try again.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import psycopg
from psycopg import errors

from cw_pipeline.errors import PipelineError, WarehouseLocked
from cw_pipeline.warehouse.lock_waits import BLOCKERS, Blocker, Patience, describe, way_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from psycopg import Connection

log = logging.getLogger(__name__)
T = TypeVar("T")
Connect: TypeAlias = "Callable[[], AbstractContextManager[Connection[Any]]]"

_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between tries; 5 from then on
_BRIEF = 500  # milliseconds that new readers may wait behind us
_PATIENT = 10_000  # where nobody waits behind us: among ourselves, and for rows
_LOOK = 0.1  # seconds between looks at who is in the way
_LIMITS = (
    "select set_config('lock_timeout', %(patient)s, true),"
    " pg_advisory_xact_lock(%(lock)s::bigint), set_config('lock_timeout', %(then)s, true)"
)
_RETRIED = (errors.LockNotAvailable, errors.DeadlockDetected)


class _Locked(Exception):
    """A lock was not to be had in time. Ends the attempt's transaction, or its savepoint."""


class Attempt:
    """One try of `patiently`: its waits for locks are short."""

    def __init__(self, connect: Connect | None) -> None:
        self._connect = connect
        self.blockers: list[Blocker] = []

    @contextmanager
    def brief(
        self, connection: Connection[Any], lock: int | None = None, *, readers: bool = True
    ) -> Iterator[None]:
        """Inside the block, until its transaction or savepoint ends, waits for locks are short.

        `lock`: the advisory lock of that number is taken first, and waited for a little longer.
        Without `readers` nothing in the block takes a lock that readers queue behind.
        """
        watch: _BlockerWatch | None = None
        limits = {"patient": str(_PATIENT), "lock": lock, "then": str(_BRIEF)}
        if not readers:
            limits["then"] = limits["patient"]
        try:
            if self._connect is not None:
                watch = _BlockerWatch(self._connect, _backend(connection))
                watch.begin()
            connection.execute(_LIMITS, limits)
            yield
        except Exception as error:
            if isinstance(getattr(error, "orig", error), _RETRIED):  # SQLAlchemy wraps them
                raise _Locked from error
            raise
        finally:
            if watch is not None:
                self.blockers = watch.end()


def patiently(
    attempt: Callable[[Attempt], T], connect: Connect, what: str, patience: Patience | None = None
) -> T:
    """Calls `attempt` again until no lock is in its way: what it returned.

    An attempt that met a lock must have left nothing behind: its transaction, or its savepoint, has
    ended with the exception that comes out of `brief`. On a connection of `connect` we look who
    holds the lock, and say so in a warning after `patience.name_after` seconds. `what` begins these
    messages. Raises WarehouseLocked after `patience.give_up_after` seconds.
    """
    limits = patience or Patience()
    began = named = time.monotonic()
    one_try = Attempt(None)
    for pause in chain(_PAUSES, repeat(5.0)):
        try:
            return attempt(one_try)
        except _Locked as error:
            waited = time.monotonic() - began
            if waited + pause > limits.give_up_after:
                raise WarehouseLocked(_given_up(what, waited, one_try.blockers)) from error
        if time.monotonic() - named >= limits.name_after:
            named = time.monotonic()
            log.warning("%s", _waiting(what, waited, one_try.blockers))
        time.sleep(pause)
        one_try = Attempt(connect)
    raise AssertionError  # there is always another pause


def _waiting(what: str, waited: float, blockers: list[Blocker]) -> str:
    return (
        f"{what} has waited for {waited:.0f} s: {describe(blockers)}. Readers are not held up; it"
        " goes on when that transaction ends"
    )


def _given_up(what: str, waited: float, blockers: list[Blocker]) -> str:
    return (
        f"{what} was given up after {waited:.0f} s: {describe(blockers)}. Nothing of it was kept."
        f" {way_out(blockers)}"
    )


class _BlockerWatch:
    """Looks, on a connection of its own, at what holds a backend up."""

    def __init__(self, connect: Connect, backend: int) -> None:
        self._connect = connect
        self._backend = backend
        self._ready, self._done = Event(), Event()
        self._blockers: list[Blocker] = []
        self._thread = Thread(target=self._run, name="lock watch", daemon=True)

    def begin(self) -> None:
        """Returns when it is looking, so that not even half a second of waiting is missed."""
        self._thread.start()
        self._ready.wait(10)

    def end(self) -> list[Blocker]:
        """What it saw last."""
        self._done.set()
        self._thread.join(10)
        return self._blockers

    def _run(self) -> None:
        # Whoever has no connection to spare is not told who it waits for, but does wait.
        with suppress(psycopg.Error, PipelineError), self._connect() as connection:
            self._ready.set()
            asked = {"pids": [self._backend], "application": None}
            while not self._done.wait(_LOOK):
                connection.execute("select pg_stat_clear_snapshot()")  # else a transaction's first
                rows = connection.execute(BLOCKERS, asked).fetchall()
                if rows:
                    self._blockers = [Blocker(*row[1:-1]) for row in rows]
        self._ready.set()


def _backend(connection: Connection[Any]) -> int:
    """The server's process: behind a pooler, the one of this transaction."""
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])
