"""Leases: the right to run an entity, for as long as its runner lives.

    take ──► renew, renew, … (one thread, all leases of the process) ──► release
      └─ a run that is killed or stands still is not heard of: its lease ends, the next one takes it

A lease is a row in `cw_sync.lease`, so nothing of it depends on a session, and a pooler may stand
between. Its token is the run's id. Every transaction of a run calls `fence` with it before it
writes, so a run that comes back after its lease was taken over can write nothing. All times are
those of the server's clock.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from psycopg import errors

from cw_pipeline.errors import EntityBusy, WarehouseError
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.warehouse.migrations import KNOWN_VERSIONS, STORED, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from psycopg import Connection

    Connect = Callable[[], AbstractContextManager[Connection[Any]]]

log = logging.getLogger(__name__)

SPAN = timedelta(seconds=45)
"""How long a lease lasts after it was last renewed: a runner may stand still for that long."""

PURPOSES = ("pass", "backfill", "reconcile", "reread", "replay", "hint")
"""What an entity may be run for side by side; refresh and full are the one `pass`."""

LIVE = "live"
"""The purpose for which a worker that stays holds its tenant's lease."""

_RENEWALS = 4.5  # in a span: three may fail
_TRIES = 3

# In one statement, so that a run costs no more of them. Whoever is alive is seen without waiting
# for the locks of its transactions; those of one that is not are waited for, but not for long.
_TAKE = """
with older as (
    -- Versions before 0008 lock this for as long as they run an entity.
    select pg_try_advisory_xact_lock(hashtextextended(%(key)s, 0)) as free
), taken as (
    insert into cw_sync.lease as l (tenant, purpose, entity, run_id, holder, machine, process_id,
        process_started, span, taken_at, expires_at)
    select %(tenant)s, %(purpose)s, %(entity)s, nextval('cw_sync.next_run_id'), %(holder)s,
        %(machine)s, %(process)s, %(started)s, %(span)s, clock_timestamp(),
        clock_timestamp() + %(span)s
    from older, set_config('lock_timeout', '2s', true)
    where older.free
        -- Upgraded since this process began: it could merge what the newer version does otherwise.
        and (select version_num from cw_sync.migration) = any(%(versions)s) and not exists (
        select from cw_sync.lease o
        where o.tenant = %(tenant)s and o.purpose = %(purpose)s and o.entity = %(entity)s
            and o.expires_at between clock_timestamp() and clock_timestamp() + o.span
            and o.run_id <> all(%(dead)s)
    )
    on conflict (tenant, purpose, entity) do update set run_id = excluded.run_id,
        holder = excluded.holder, machine = excluded.machine, process_id = excluded.process_id,
        process_started = excluded.process_started, span = excluded.span,
        taken_at = excluded.taken_at, expires_at = excluded.expires_at
    -- One that ends later than it could was renewed before the clock was set back.
    where l.expires_at not between clock_timestamp() and clock_timestamp() + l.span
        or l.run_id = any(%(dead)s)
    returning run_id, taken_at
), ended as (
    update cw_sync.run set status = 'failed', finished_at = now(),
        error = 'its process was gone before it ended'
    where tenant = %(tenant)s and entity = %(entity)s and status = 'started'
        and kind = any(%(kinds)s) and exists (select from taken)
), begun as (
    insert into cw_sync.run (run_id, tenant, entity, kind, dagster_run_id)
    select run_id, %(tenant)s, %(entity)s, %(kind)s, %(dagster_run_id)s from taken
    where %(kind)s::text is not null
)
select run_id, taken_at from taken
"""
_HOLDER = """
select run_id, taken_at, to_char(taken_at at time zone 'UTC', 'HH24:MI:SS'),
    extract(epoch from span)::integer, holder, machine, process_id, process_started
from cw_sync.lease where tenant = %(tenant)s and purpose = %(purpose)s and entity = %(entity)s
"""
_HOLDERS = """
select run_id, holder, machine, process_id, process_started from cw_sync.lease where tenant = %s
"""
_OLDER_HOLDER = """
select a.application_name, to_char(a.backend_start at time zone 'UTC', 'HH24:MI:SS')
from pg_locks l join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
    and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%(key)s, 0)
"""
# A process that stopped while it sent rows is beyond every time-out: the server waits for the rest.
_END_STALLED = """
select pg_terminate_backend(a.pid)
from cw_sync.lease o
join pg_locks l on l.locktype = 'advisory' and l.objsubid = 2
    and l.database = (select oid from pg_database where datname = current_database())
    and l.classid::bigint::bit(32) = hashtext('cw_sync.lease')::bit(32)
    and l.objid::bigint = mod(o.run_id, 2147483647)
join pg_stat_activity a on a.pid = l.pid and a.wait_event = 'ClientRead'
where o.tenant = %(tenant)s and o.purpose = %(purpose)s and o.entity = %(entity)s
    and (o.expires_at not between clock_timestamp() and clock_timestamp() + o.span
        or o.run_id = any(%(dead)s))
"""
_RENEW = """
with released as (delete from cw_sync.lease where run_id = any(%(released)s))
update cw_sync.lease set expires_at = clock_timestamp() + span where run_id = any(%(held)s)
returning run_id
"""


@dataclass(frozen=True, slots=True)
class Runner:
    """A process that runs entities, as its leases describe it.

    `machine` is the kernel that runs it and the namespace that `process_id` counts in, by which
    another process can tell whether it has both in common; None where that cannot be known.
    `started`: in ticks since the machine did.
    """

    name: str
    machine: str | None
    process_id: int
    started: int | None

    @classmethod
    def this(cls) -> Self:
        """This process."""
        name = f"cw_pipeline {socket.gethostname()}:{os.getpid()}"
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
            machine = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
            _, started = _life(os.getpid())
        except OSError:  # no Linux
            return cls(name, None, os.getpid(), None)
        return cls(name, machine, os.getpid(), started)

    def is_gone(self, here: Runner) -> bool:
        """Whether the process is surely no more, as seen from `here`.

        By its id only where both count alike: containers share a host's name, not its processes.
        """
        if self.machine is None or self.machine != here.machine:
            return False
        try:
            state, started = _life(self.process_id)
        except OSError:  # none such, or hidden from this account
            return not _exists(self.process_id)
        return state in "ZX" or started != self.started


def _life(process_id: int) -> tuple[str, int]:
    """A process's state (Z and X: dead) and when it started: proc(5), `/proc/pid/stat`."""
    fields = Path(f"/proc/{process_id}/stat").read_text("utf-8", "replace").rpartition(")")[2]
    state, *rest = fields.split()
    return state, int(rest[18])


def _exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def fence(connection: Connection[Any], run_id: int) -> None:
    """Makes the caller's transaction one of this run: nobody takes its lease over until it ends.

    Ends transactions that stand still for 30 seconds. A lease that is gone is an error of the
    server, which `database` names EntityBusy.
    """
    connection.execute("select cw_sync.fence(%s)", [run_id])


def dead_runs(connection: Connection[Any], tenant: str) -> list[int]:
    """Runs whose lease has not ended, but whose process is surely gone, as seen from here.

    They are those of this machine, that were killed since.
    """
    here = Runner.this()
    rows = connection.execute(_HOLDERS, [tenant]).fetchall()
    return [run_id for run_id, *runner in rows if Runner(*runner).is_gone(here)]


def live_is_alive(connection: Connection[Any], tenant: str) -> bool:
    """Whether a worker that stays keeps the tenant's lists up to date now, as seen from here."""
    rows = connection.execute(
        "select run_id from cw_sync.lease where tenant = %s and purpose = %s"
        " and expires_at between clock_timestamp() and clock_timestamp() + span",
        [tenant, LIVE],
    ).fetchall()
    return bool(rows) and rows[0][0] not in dead_runs(connection, tenant)


_UNRELEASED: WeakKeyDictionary[Machine, set[tuple[int, datetime]]] = WeakKeyDictionary()
"""Runs of this process that are over, and when they took the leases that no server took back: it
was read-only, or gone. Of the process, because it goes on with other connections: for as long as
the leases last, it would be told that it has them itself. By the moment, too: another warehouse
that this process serves counts its runs from one as well. Simulated processes have machines of
their own."""


class Leases:
    """The leases that this process holds in one warehouse. A thread renews them all at once."""

    def __init__(
        self, connect: Connect, tenant: str, span: timedelta = SPAN, machine: Machine = THIS
    ) -> None:
        self._connect = connect
        self._tenant = tenant
        self._here = Runner.this()
        self._span = span
        self._lock = Lock()
        self._held: set[int] = set()
        self._taken_at: dict[int, datetime] = {}  # of those, and of those not released yet
        self._ending: set[int] = set()  # of those, and perhaps deleted already
        self._released: set[int] = set()  # and perhaps still in the table
        self._machine = machine
        self._unreleased = _UNRELEASED.setdefault(machine, set())
        self._end_renewals: Callable[[], None] | None = None

    @contextmanager
    def hold(
        self,
        entity: str,
        purpose: str,
        kind: str | None = None,
        dagster_run_id: str | None = None,
    ) -> Iterator[int]:
        """An entity's lease until the block, or this process, ends: the token to `fence` with.

        With a `kind` a run begins under it, whose id the token is; runs of its kinds that are not
        over are closed as dead. Raises EntityBusy, naming who holds it, and WarehouseNewer if this
        process is too old for the warehouse.
        """
        kinds = ("refresh", "full") if purpose == "pass" else (purpose,)
        asked = {"kind": kind, "kinds": list(kinds), "dagster_run_id": dagster_run_id}
        run_id = self._take({"purpose": purpose, "entity": entity, **asked})
        with self._lock:
            self._held.add(run_id)
            if self._end_renewals is None:
                between = self._span.total_seconds() / _RENEWALS
                self._end_renewals = self._machine.every(between, self._renew, "leases")
        try:
            yield run_id
        finally:
            with self._lock:
                still_held = run_id in self._held
                self._held.discard(run_id)
                if still_held:
                    self._released.add(run_id)
            if still_held:
                self._release(run_id)

    @contextmanager
    def ending(self, run_id: int) -> Iterator[None]:
        """For a block that deletes the lease itself, together with the last that its run writes.

        Until then it is renewed as before; that it is gone is no loss.
        """
        with self._lock:
            self._ending.add(run_id)
        try:
            yield
            with self._lock:
                self._held.discard(run_id)
                self._taken_at.pop(run_id, None)
        finally:
            with self._lock:
                self._ending.discard(run_id)

    def has(self, run_id: int) -> bool:
        """Whether this lease is still held, as far as the latest renewal showed."""
        with self._lock:
            return run_id in self._held

    def close(self) -> None:
        """Ends the thread, and what could not be released before."""
        if self._end_renewals is not None:
            self._end_renewals()
        for run_id in [*self._released]:
            self._release(run_id)
        self._unreleased.update((run_id, self._taken_at[run_id]) for run_id in self._released)

    def _take(self, asked: dict[str, Any]) -> int:
        here, key = self._here, f"{self._tenant}/{asked['purpose']}/{asked['entity']}"
        asked |= {"tenant": self._tenant, "key": key, "span": self._span, "holder": here.name}
        asked |= {"machine": here.machine, "process": here.process_id, "started": here.started}
        asked |= {"dead": [*self._released], "versions": KNOWN_VERSIONS}
        tries = 0
        while tries < _TRIES:
            try:
                row = self._ask(_TAKE, asked)
            except WarehouseError as error:
                if not isinstance(error.__cause__, errors.LockNotAvailable):
                    raise
                if self._ask(_END_STALLED, asked):
                    continue
                row = None
            if row is not None:
                run_id, taken_at = row
                with self._lock:
                    self._taken_at[run_id] = taken_at
                return int(run_id)
            refuse_newer(*(self._ask(STORED, {}) or (None,)))
            asked["dead"] += self._dead_holder(asked)
            tries += 1
        older = self._ask(_OLDER_HOLDER, asked)
        who = f"{older[0]} (older version, since {older[1]} UTC)" if older else "another runner"
        raise EntityBusy(
            f"{asked['entity']}: {who} has it. Wait until that run ends, then try again"
        )

    def _dead_holder(self, asked: dict[str, Any]) -> list[int]:
        """The run that has the lease, if its process is surely gone; none, if nobody has it.

        Raises EntityBusy if somebody may be alive.
        """
        row = self._ask(_HOLDER, asked)
        if row is None:
            return []
        run_id, taken_at, since, seconds, *runner = row
        holder = Runner(*runner)
        if holder.is_gone(self._here) or (run_id, taken_at) in self._unreleased:
            return [run_id]
        raise EntityBusy(
            f"{asked['entity']}: {holder.name} has it (since {since} UTC). Wait until that run"
            f" ends. If that process is gone, its lease ends by itself within {seconds} seconds"
        )

    def _ask(self, query: str, asked: dict[str, Any]) -> tuple[Any, ...] | None:
        with self._connect() as connection:
            return connection.execute(query.encode(), asked).fetchone()

    def _release(self, run_id: int) -> None:
        try:
            with self._connect() as connection:
                connection.execute("delete from cw_sync.lease where run_id = %s", [run_id])
        except WarehouseError as error:
            log.warning("a lease could not be released, which is tried again: %s", error)
        else:
            self._released.discard(run_id)
            self._taken_at.pop(run_id, None)

    def _renew(self) -> None:
        """Renews what is held, and releases what could not be released before.

        A failure is logged, and made good by the next renewal. So is a lease that is no longer
        there; the run's next `fence` ends it.
        """
        with self._lock:
            held, released = [*self._held], [*self._released]
        if not held and not released:
            return
        try:
            with self._connect() as connection:
                rows = connection.execute(_RENEW, {"held": held, "released": released}).fetchall()
        except WarehouseError as error:
            log.warning("the leases of this process could not be renewed: %s", error)
            return
        lost = set(held) - {row[0] for row in rows}
        with self._lock:
            self._released.difference_update(released)
            for run_id in released:
                self._taken_at.pop(run_id, None)
            lost &= self._held - self._ending  # the others were released meanwhile
            self._held -= lost
        for run_id in sorted(lost):
            log.warning("run %s has lost its lease: it was not renewed for too long", run_id)
