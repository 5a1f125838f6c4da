"""Waits for what other sessions have locked: named after half a minute, and ended by a bound.

    with name_lock_waits(session, look, patience): ...     # one use of a connection

A wait holds up nobody but us: what writes rows takes no lock that readers queue behind. So it goes
on where it stands, and the server ends it by `lock_timeout`. One thread of the process looks, over
another connection, who is in the way; it asks nothing as long as no statement takes that long.
What changes tables and views must not wait like this, see `ddl.locks`.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import psycopg
from psycopg import errors, pq
from typing_extensions import override

from cw_pipeline.errors import PipelineError, WarehouseLocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from psycopg import Connection

log = logging.getLogger(__name__)
Look: TypeAlias = "Callable[[], AbstractContextManager[Connection[Any]]]"

_NAMED = 3  # blockers in a message
_TICK = 0.5  # seconds between the thread's turns, most of which find nothing to do
_LOOKS = 6  # of them are made while a wait gets long enough to be named

# Two waits have no relation in their lock: for a transaction that has changed a row, which is
# marked by a lock on the row itself, and for an advisory lock.
BLOCKERS = """
select l.pid, case
        when l.locktype = 'advisory' then 'advisory'
        else coalesce((
            select case when l.relation is null or l.locktype = 'tuple' then 'a row of ' else '' end
                || format('%%I.%%I', n.nspname, c.relname)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.oid = coalesce(l.relation, (
                select t.relation from pg_locks t
                where t.pid = l.pid and t.locktype = 'tuple' and t.granted limit 1))
        ), l.locktype) end,
    b.pid, a.usename, a.application_name, a.backend_type,
    extract(epoch from clock_timestamp() - l.waitstart)::float8
from pg_locks l
cross join lateral unnest(pg_blocking_pids(l.pid)) b (pid)
left join pg_stat_activity a on a.pid = b.pid
where not l.granted and (l.pid = any(%(pids)s::integer[]) or l.pid in (
    -- Behind a pooler, a statement outside of transactions runs in a process we are not told of.
    select pid from pg_stat_activity where application_name = %(application)s::text
        and datname = current_database() and usename = current_user))
"""
_CANCEL = """
select pg_cancel_backend(pid) from pg_locks
where not granted and pid = %s and clock_timestamp() - waitstart > make_interval(secs => %s)
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds of waiting after which the blocker is named, and after which we give up."""

    name_after: float = 30.0
    give_up_after: float = 300.0


class Watchable(Protocol):
    """A session of `database`."""

    backend: int | None
    """The server's process that has its transaction; None where that is not known."""

    @property
    def application(self) -> str:
        """The name that it gives to the server."""

    @property
    def pgconn(self) -> pq.abc.PGconn:
        """What says whether a statement runs."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that holds what we need. `what` is a relation's name, or the kind of the lock."""

    what: str | None
    pid: int
    user: str | None
    application: str | None
    kind: str | None

    @override
    def __str__(self) -> str:
        if not self.pid:
            return f"{self.what} is locked by a prepared transaction (see pg_prepared_xacts)"
        who = [f"process {self.pid}", f"user {self.user or 'unknown'}"]
        who += [f"application {self.application}"] if self.application else []
        who += [str(self.kind)] if self.kind not in (None, "client backend") else []
        if self.what == "advisory":
            return f"another cw_pipeline is at the same work ({', '.join(who)})"
        return f"{self.what or 'something'} is locked ({', '.join(who)})"


def describe(blockers: Iterable[Blocker]) -> str:
    """What is locked and by whom, as a part of a sentence."""
    known = list(dict.fromkeys(map(str, blockers)))
    return "; ".join(known[:_NAMED]) or "a table or view is locked by another session"


def way_out(blockers: Iterable[Blocker]) -> str:
    """What to do about it, as a sentence."""
    pids = [str(each.pid) for each in blockers if each.pid]
    end = f" (an administrator may: select pg_terminate_backend({pids[0]}))" if pids else ""
    return f"Let that transaction end, or end it{end}, and run the command again"


@dataclass(slots=True, eq=False)
class _Use:
    """One use of a connection."""

    session: Watchable
    look: Look
    patience: Patience
    since: float = field(default_factory=time.monotonic)
    looked: float = float("-inf")
    blockers: list[Blocker] = field(default_factory=list)
    canceled: bool = False
    blind: bool = False

    def is_due(self) -> bool:
        """Whether a statement runs that may wait for long, and was not looked at just now."""
        now, named = time.monotonic(), self.patience.name_after
        active = self.session.pgconn.transaction_status == pq.TransactionStatus.ACTIVE
        if not active or now - self.since < named or now - self.looked < named / _LOOKS:
            return False
        self.looked = now
        return True

    def given_up(self, error: BaseException) -> WarehouseLocked | None:
        """What an error says to do, if the wait for a lock was ended by it."""
        cause = getattr(error, "orig", error)  # SQLAlchemy wraps it
        ended = isinstance(cause, errors.LockNotAvailable)
        if not ended and not (self.canceled and isinstance(cause, errors.QueryCanceled)):
            return None
        waited = f"given up after {time.monotonic() - self.since:.0f} s"
        return WarehouseLocked(
            f"{describe(self.blockers)}: {waited}. Nothing of the open batch was kept."
            f" {way_out(self.blockers)}: it goes on from there"
        )


@dataclass(slots=True, eq=False)
class _WaitWatch:
    """The thread that looks at the long ones among the uses of this process."""

    _uses: set[_Use] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)
    _some: Event = field(default_factory=Event)
    _thread: Thread | None = None
    _said: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def name_lock_waits(self, session: Watchable, look: Look, patience: Patience) -> Iterator[None]:
        """Inside the block, a wait of the session for a lock is named in a warning, and ends.

        `look` opens another connection to the same database. Raises WarehouseLocked, which says who
        was in the way, when the server ended a wait by `lock_timeout`.
        """
        use = _Use(session, look, patience)
        with self._lock:
            self._uses.add(use)
            self._some.set()
            if self._thread is None or not self._thread.is_alive():  # a fork has no threads
                self._thread = Thread(target=self._run, name="lock waits", daemon=True)
                self._thread.start()
        try:
            yield
        except Exception as error:
            if (locked := use.given_up(error)) is not None:
                raise locked from getattr(error, "orig", error)
            raise
        finally:
            with self._lock:
                self._uses.discard(use)
                if not self._uses:
                    self._some.clear()

    def _run(self) -> None:
        while self._some.wait():
            time.sleep(_TICK)
            with self._lock:
                due = [use for use in self._uses if use.is_due()]
            by_look: dict[Look, list[_Use]] = {}  # one question about all of a pool
            for use in due:
                by_look.setdefault(use.look, []).append(use)
            for look, some in by_look.items():
                self._look(look, some)

    def _look(self, look: Look, uses: list[_Use]) -> None:
        try:
            with look() as connection:
                self._examine(connection, uses)
        except (psycopg.Error, PipelineError):
            for use in uses:
                if not use.blind and not use.blockers:
                    log.warning(
                        "a statement has taken %.0f s. Whether it waits for somebody cannot be"
                        " seen: the warehouse gives no other connection",
                        time.monotonic() - use.since,
                    )
                use.blind = True

    def _examine(self, connection: Connection[Any], uses: list[_Use]) -> None:
        """Notes and names who is in the way of these."""
        patience, application = uses[0].patience, uses[0].session.application
        known = {use.session.backend for use in uses}
        by_name = application if None in known else None
        asked = {"pids": [*(known - {None})], "application": by_name}
        waits: dict[int, tuple[float, list[Blocker]]] = {}
        for pid, *blocker, waited in connection.execute(BLOCKERS, asked):
            waits.setdefault(pid, (waited or 0.0, []))[1].append(Blocker(*blocker))
        for pid, (waited, blockers) in waits.items():
            backend = pid if pid in known else None
            for use in (mine := [use for use in uses if use.session.backend == backend]):
                use.blockers = blockers
            if waited >= patience.name_after:
                # Who waits for another of our sessions waits for what that one waits for.
                others = [each for each in blockers if each.application != application]
                self._name(others, waited, patience)
            bound = patience.give_up_after + patience.name_after / 3
            if backend is None and waited > bound:  # it runs without our `lock_timeout`
                for use in mine:
                    use.canceled = True
                connection.execute(_CANCEL, [pid, bound])

    def _name(self, blockers: list[Blocker], waited: float, patience: Patience) -> None:
        """Says it once in `name_after` seconds, however many of us wait for the same."""
        what, now = describe(blockers), time.monotonic()
        if not blockers or now - self._said.get(what, float("-inf")) < patience.name_after:
            return
        self._said = {w: at for w, at in self._said.items() if now - at < patience.name_after}
        self._said[what] = now
        log.warning(
            "%s. cw_pipeline has waited for it for %.0f s and gives up after %.0f s; nobody waits"
            " behind it. It goes on when that transaction ends",
            what,
            waited,
            patience.give_up_after,
        )


name_lock_waits = _WaitWatch().name_lock_waits
