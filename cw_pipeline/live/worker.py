"""The worker that stays: hints are read at once, lists at their pace, reports follow.

    Worker (one process) ──► LiveTenant, LiveTenant, …  each with its duties:
        pass       asks the lists that are due what is new, and reads those where something is
        hints      reads the records that callbacks named
        children   reads what hangs on those records
        publish    has reports follow what was read
        others     the account of what hints cost, reports behind the calendar, registrations

One loop looks ten times a second which duties are due, and a few threads do them: a duty of a
tenant never runs twice at once. What fails is said and tried again: what was missed is read by the
next pass. Tenants share connections, threads and nothing else.
"""

from __future__ import annotations

import logging
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Lock
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.callbacks import callback_types
from cw_pipeline.errors import (
    EntityBusy,
    Interrupted,
    PipelineError,
    SourceBroken,
    SourceBusy,
    SourceDenied,
    SourceDown,
    SourceMissing,
    SourceRefused,
    TooManyRejects,
    UnexpectedError,
    WarehouseError,
    WarehouseNewer,
)
from cw_pipeline.live.drain import Drain, Drained
from cw_pipeline.live.hints import add_up_runs, tenants_with_hints
from cw_pipeline.live.registrations import steps_to_do
from cw_pipeline.model import SyncMode
from cw_pipeline.paths import cli_command
from cw_pipeline.results import explain_failure
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entity
from cw_pipeline.sync.paces import HOUR, MINUTE, QUIET, Paces, leader
from cw_pipeline.warehouse.callbacks import note_registrations
from cw_pipeline.warehouse.lease import LIVE
from cw_pipeline.warehouse.status import watermarks
from cw_pipeline.wording import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cw_pipeline.model import Entity
    from cw_pipeline.pipeline import Pipeline
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse import Connections

log = logging.getLogger(__name__)

CONNECTIONS = 20
"""To the warehouse, for all tenants of a process."""

_GLANCE = 0.1  # seconds between looks for hints, and for what else is due
_SECOND = 1.0  # between looks for hints where no tenant has callbacks, too
_CHILDREN = 10.0  # seconds between passes over what hangs on records that hints named
_QUESTIONS = 25.0  # seconds for asking lists what is new
_AFTER_ERROR = 10.0  # seconds
_TAKEOVER = 5.0  # seconds between looks whether another worker of a tenant has ended

_LANES = ("pass", "hints", "others")
"""Kinds of duties that wait for a tenant's ConnectWise. Each has as many threads as there are
tenants, or first loads of two would keep all others waiting."""

_PUBLISHING = 2
"""Threads that have reports follow. They wait for the warehouse, and each keeps a connection."""

_MAY_PASS = (EntityBusy, Interrupted, SourceBroken, SourceBusy, SourceDown, WarehouseError)
"""Why a pass failed that is tried again soon."""

_OF_ONE_LIST = (SourceMissing, SourceRefused, TooManyRejects, UnexpectedError)
"""Errors that are each list's own: two lists that fail by the same words are two faults."""


@dataclass(eq=False)
class Duty:
    """What is done again and again for a tenant, so many seconds after it was done last.

    `is_wanted` says whether there is anything to do.
    """

    lane: str
    once: Callable[[], None]
    seconds: float
    is_wanted: Callable[[], bool] = lambda: True
    due_at: float = 0.0
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why something fails, what to do, and since when. Of one `cause` the first alone is said."""

    why: str
    to_do: str
    cause: str
    since: datetime


def _trouble(about: str, error: Exception, before: _Trouble | None) -> _Trouble:
    why, to_do = explain_failure(about, error)
    own = f"{about}: {why}" if isinstance(error, _OF_ONE_LIST) else why
    since = before.since if before else datetime.now(UTC)
    return _Trouble(why, to_do, _without_figures(own), since)


class LiveTenant:
    """One tenant that is kept up to date. `say` is given lines for whoever watches.

    `leaves_first_load`: lists that were never read whole are somebody else's until they were.
    """

    def __init__(
        self, pipeline: Pipeline, say: Callable[[str], None], *, leaves_first_load: bool = False
    ) -> None:
        self.pipeline = pipeline
        self._leaves_first_load = leaves_first_load
        self.name = pipeline.settings.schema_
        self.say = say
        self.has_hints = False
        self._context: SyncContext
        self._entities: list[Entity] = []
        self._paces = Paces([])
        self._drain: Drain
        self._holding = ExitStack()
        self._lease: int | None = None
        self._is_waiting_said = False
        self._changed: set[str] = set()
        self._parents: set[str] = set()
        self._failing: dict[str, _Trouble] = {}  # by what fails
        self._caught_up = False  # whether lists below parents were read since the start
        self._lock = Lock()
        self._become = Duty("others", self._become_live, _TAKEOVER)
        self._duties = [
            Duty("hints", self._drain_hints, 0.0, lambda: self.has_hints),
            Duty("pass", self.read_due_lists, _SECOND),
            Duty("publish", self._publish, 0.0, lambda: bool(self._changed)),
            Duty("others", self._read_children, _CHILDREN, lambda: bool(self._parents)),
            Duty("others", self._add_up_runs, MINUTE),
            Duty("publish", self._refresh_behind, QUIET),
        ]
        if pipeline.settings.callback_url is not None:
            self._duties.append(Duty("others", self._look_at_registrations, HOUR))

    def connect(self) -> None:
        """Opens the tenant and its warehouse. Raises ConfigError, WarehouseError."""
        self._context = self.pipeline.connect()
        self._entities = self.pipeline.select()
        self._paces = Paces(self._entities)
        self._drain = Drain(self._context, hinted_lists(self._entities))

    def duties(self) -> list[Duty]:
        """What there is to do: to become live first. Only one worker of a tenant lives."""
        if self._lease is None:
            return [self._become]
        if not self._context.database.leases.has(self._lease):
            self._lease = None
            self.say("stood still for too long, and another may have taken over: waits for that")
            return [self._become]
        return self._duties

    @property
    def is_busy(self) -> bool:
        """Whether a duty runs, or is to run as soon as a thread is free."""
        return any(duty.is_running for duty in (self._become, *self._duties))

    def note_outcome(self, about: str, error: Exception | None) -> None:
        """Says that a list or a duty fails, once for each reason, and that it does no more.

        Not each time: a list that fails all night is tried each minute of it.
        """
        with self._lock:
            before = self._failing.pop(about, None)
            known = {each.cause for each in self._failing.values()}  # one outage fails all duties
            now = None if error is None else _trouble(about, error, before)
            if now is not None:
                self._failing[about] = now
        name = f"{about}: " if about in CATALOG else ""
        if now is not None and now.cause not in known | {before.cause if before else ""}:
            parts = (f"{name}{now.why}", f"failing since {moment(now.since)}", now.to_do)
            self.say("; ".join(filter(None, parts)))
        elif before is not None and now is None and before.cause not in known:
            since = moment(before.since)
            self.say(f"{name}well again; it had failed since {since} ({before.why})")

    def interrupt(self) -> None:
        """Has what is being read end after its present pages."""
        self.pipeline.stop()
        if self._entities:
            self._context.stopping.set()

    def leave(self) -> None:
        """Lets go of the tenant, for another worker to take over."""
        self._lease = None
        self._holding.close()

    def _become_live(self) -> None:
        """Takes the lease. That of one that was killed ends within a minute."""
        self._holding.close()
        if not self._entities:
            self.connect()
        leases = self._context.database.leases
        try:
            self._lease = self._holding.enter_context(leases.hold("live", LIVE))
        except EntityBusy as error:
            if not self._is_waiting_said:
                self.say(f"another live is there: this one waits until that ends ({error})")
            self._is_waiting_said = True
            return
        self._is_waiting_said = self._caught_up = False
        self.say(f"live: {len(self._entities)} lists")

    def read_due_lists(self) -> None:
        """Asks the lists that are due what is new, and reads those where it is something."""
        due = asked = self._paces.due()
        try:
            if self._leaves_first_load and due:
                due = self._read_whole_once(due)
            busy = [name for name in due if self._paces.is_busy(name)]
            found = self._read(busy) if busy else []
            quiet = [name for name in due if name not in busy]
            if not quiet:
                return
            changes = self.pipeline.find_changes(*quiet, seconds=_QUESTIONS)
        except BaseException:
            self._paces.again(asked)  # else those that are asked hourly would miss a turn
            self._caught_up = False  # what busy lists brought may have left something due below
            raise
        self._paces.note_requests(changes.requests)
        if changes.unasked:
            self._paces.again(quiet)
        changed = [*changes.changed]
        # What a worker that died left due below parents shows in no list.
        below = [e for e in self._entities if e.mode is SyncMode.PER_PARENT and e.name in quiet]
        due_below = set[str]()
        for each in below:  # parents before children
            if each.parent in found or each.parent in due_below or not self._caught_up:
                due_below.add(each.name)
        changed += sorted(due_below.difference(changed))
        if changed:
            self._read(changed)
        self._caught_up = True

    def _read_whole_once(self, due: list[str]) -> list[str]:
        """Those of the lists that were read whole once; the others are looked at in a minute.

        One below a list that was read goes with it: where no record has any, it never counts as
        read, and would have the list above asked each minute.
        """
        database = self._context.database
        with database.connection() as connection:
            found = watermarks(connection, database.schema)
        read = {name for name in due if found.get(name) is not None}
        left = [name for name in due if name not in read]
        self._paces.again(name for name in left if found.get(leader(CATALOG[name])) is None)
        return [name for name in due if name in read]

    def _read(self, names: list[str]) -> list[str]:
        """The entities among these that had something new, which is read.

        Those that could not be read are due again soon.
        """
        found, touched = [], set[str]()
        try:
            for result in self.pipeline.sync(*names):
                if CATALOG[result.entity].mode is not SyncMode.PER_PARENT:
                    self._paces.note_requests(result.requests)
                if not isinstance(result.failure, EntityBusy | Interrupted):
                    self.note_outcome(result.entity, result.failure)
                if isinstance(result.failure, _MAY_PASS):
                    self._paces.again([result.entity])
                if result.rows_inserted or result.rows_updated:
                    found.append(result.entity)
                if result.rows_inserted or result.rows_updated or result.rows_deleted:
                    touched.add(result.entity)
        except BaseException:
            # What was read until then is published all the same.
            self._paces.again(names)
            with self._lock:
                self._changed |= touched
            raise
        self._paces.note_changes(found)
        return found

    def _drain_hints(self) -> None:
        self.has_hints = False
        drained = Drained()
        try:
            self._drain.drain(drained)
        finally:  # what was drained until an error is published all the same
            if drained.named:
                self._paces.note_hints(drained.named)
            with self._lock:
                self._changed |= drained.changed
                self._parents |= drained.named

    def _read_children(self) -> None:
        """Reads what hangs on the records that hints named, such as the notes of a ticket."""
        with self._lock:
            parents, self._parents = self._parents, set()
        due = [e for e in self._entities if e.parent in parents and e.mode is SyncMode.PER_PARENT]
        left = {entity.name: entity.parent for entity in due if entity.parent}
        try:
            for entity in due:
                result = sync_entity(entity, self._context, SyncRequest())
                if result.rows_inserted or result.rows_updated or result.rows_deleted:
                    with self._lock:
                        self._changed.add(entity.name)
                if not isinstance(result.failure, _MAY_PASS):
                    del left[entity.name]
        finally:
            with self._lock:
                self._parents |= set(left.values())

    def _publish(self) -> None:
        """Has reports follow what was read."""
        with self._lock:
            changed, self._changed = self._changed, set()
        try:
            self.pipeline.follow_sync(sorted(changed))
        except BaseException:
            with self._lock:
                self._changed |= changed
            raise

    def _add_up_runs(self) -> None:
        database = self._context.database
        with database.transaction() as connection:
            add_up_runs(connection, database.schema)

    def _refresh_behind(self) -> None:
        """Has reports follow the calendar, and what others read: the schedule leaves that to us."""
        if behind := self.pipeline.tables_behind():
            self.pipeline.refresh_tables(behind)

    def _look_at_registrations(self) -> None:
        """Notes what is not registered as it should be, for the check `callbacks`."""
        source, database = self._context.source, self._context.database
        to_do = ", ".join(map(str, steps_to_do(source, self.pipeline.settings, self._entities)))
        if to_do:
            self.say(f"callbacks: `{cli_command('callbacks', 'apply')}` has to {to_do}")
        with database.transaction() as connection:
            note_registrations(connection, database.schema, to_do)


def _without_figures(text: str) -> str:
    """What of a reason stays the same while it lasts: not its times, tries and seconds."""
    return re.sub(r"\d+", "", text)


class Worker:
    """Keeps tenants of one warehouse up to date until `stop` is set."""

    def __init__(self, tenants: Sequence[LiveTenant], connections: Connections) -> None:
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._connections = connections
        self._looks_at = 0.0
        self._trouble = ""  # why the warehouse is away
        awaited = any(tenant.pipeline.settings.callback_url for tenant in tenants)
        self._glance = 0.0 if awaited else _SECOND
        self.stop = Event()

    def run(self) -> None:
        """Returns when `stop` is set. A tenant that fails is tried again, the others go on."""
        with ExitStack() as stack:
            for tenant in self._tenants.values():
                stack.callback(tenant.leave)
            threads = dict.fromkeys(_LANES, len(self._tenants)) | {"publish": _PUBLISHING}
            lanes = {
                name: stack.enter_context(ThreadPoolExecutor(most, name))
                for name, most in threads.items()
            }
            stack.callback(self._interrupt)
            while not self.stop.wait(_GLANCE):
                self._look_for_hints()
                self._begin_what_is_due(lanes)

    def _interrupt(self) -> None:
        """Returns when no duty runs. A call that begins just now takes back the first interrupt."""
        self.stop.set()
        while busy := [tenant for tenant in self._tenants.values() if tenant.is_busy]:
            for tenant in busy:
                tenant.interrupt()
            time.sleep(_GLANCE)

    def _look_for_hints(self) -> None:
        """One question for all tenants. While the warehouse is away it is asked less often."""
        if time.monotonic() < self._looks_at:
            return
        self._looks_at = time.monotonic() + self._glance
        try:
            with self._connections.connection() as connection:
                found = tenants_with_hints(connection, [*self._tenants])
        except WarehouseError as error:
            why = _without_figures(str(error))
            if why != self._trouble:  # once; a duty that finds it so may be a minute later
                log.warning("%s", error)
            self._trouble = why
            self._looks_at = time.monotonic() + _AFTER_ERROR
            return
        self._trouble = ""
        for name in found:
            self._tenants[name].has_hints = True

    def _begin_what_is_due(self, lanes: Mapping[str, ThreadPoolExecutor]) -> None:
        now = time.monotonic()
        for tenant in self._tenants.values():
            for duty in tenant.duties():
                if not duty.is_running and duty.due_at <= now and duty.is_wanted():
                    duty.is_running = True
                    lanes[duty.lane].submit(self._do, tenant, duty)

    def _do(self, tenant: LiveTenant, duty: Duty) -> None:
        """Does something that may fail: it is tried again, whatever it was."""
        wait = duty.seconds
        try:
            if not self.stop.is_set():
                duty.once()
                tenant.note_outcome(duty.once.__name__, None)
        except Interrupted:
            wait = _SECOND
        except PipelineError as error:
            tenant.note_outcome(duty.once.__name__, error)
            is_lasting = isinstance(error, SourceDenied | WarehouseNewer)
            wait = max(wait, MINUTE if is_lasting else _AFTER_ERROR)
        except Exception:
            log.exception("%s: a fault of the program; it is tried again", tenant.name)
            wait = max(wait, MINUTE)
        finally:
            duty.due_at = time.monotonic() + wait
            duty.is_running = False


def hinted_lists(entities: list[Entity]) -> dict[str, list[Entity]]:
    """The entities among these that each type of callback is about; types in small letters."""
    types = callback_types(entity.name for entity in entities)
    found = {name.lower(): [CATALOG[each] for each in lists] for name, lists in types.items()}
    if "site" in found:  # which the receiver notes as hints of their companies
        found.setdefault("company", [CATALOG["company/companies"]])
    return found
