"""The worker that stays: hints are read at once, lists at their pace, reports follow.

Loops over one connected pipeline: passes (the caller's thread), hints, what hangs on the records
that hints named, the account of what hints cost, and reports. Each goes on after an error, which is
logged: what was missed is read by the next pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from cw_pipeline import composition
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
    WarehouseError,
)
from cw_pipeline.live.drain import Drain
from cw_pipeline.live.hints import add_up_runs
from cw_pipeline.live.registrations import callback_token, steps_to_do
from cw_pipeline.model import SyncMode
from cw_pipeline.paths import child_environment, cli_command
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entity
from cw_pipeline.sync.paces import HOUR, MINUTE, QUIET, Paces
from cw_pipeline.warehouse.callbacks import note_registrations
from cw_pipeline.warehouse.lease import LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cw_pipeline.model import Entity
    from cw_pipeline.pipeline import Pipeline
    from cw_pipeline.settings import Settings
    from cw_pipeline.sync.context import SyncContext

_GLANCE = 0.25  # seconds between looks for hints
_CHILDREN = 10.0  # seconds between passes over what hangs on records that hints named
_QUESTIONS = 25.0  # seconds for asking lists what is new
_AFTER_ERROR = 10.0  # seconds
_TAKEOVER = 5.0  # seconds between looks whether another worker of this tenant has ended

_MAY_PASS = (EntityBusy, Interrupted, SourceBroken, SourceBusy, SourceDown, WarehouseError)
"""Why a pass failed that is tried again soon."""


@dataclass
class Worker:
    """Keeps one tenant up to date until `stop` is set. `say` is given lines for whoever watches."""

    pipeline: Pipeline
    say: Callable[[str], None]
    stop: Event = field(default_factory=Event)
    _changed: set[str] = field(default_factory=set)
    _parents: set[str] = field(default_factory=set)
    _caught_up: bool = False  # whether lists below parents were read since the start
    _lock: Lock = field(default_factory=Lock)

    def run(self) -> None:
        """Returns when `stop` is set. Raises SourceDenied, and what the first connection raises.

        Only one worker of a tenant lives: another one waits here until it ends.
        """
        context = self.pipeline.connect()
        entities = self.pipeline.select()
        paces = Paces(entities)
        with self._being_live(context) as lease, ExitStack() as stack:
            if self.stop.is_set():
                return
            self.say(f"live: {len(entities)} lists of {context.database.tenant}")
            for loop in (
                lambda: self._drain_hints(context, entities, paces),
                lambda: self._read_children(context, entities),
                lambda: self._add_up_runs(context),
                self._publish,
                self._refresh_behind,
                lambda: self._look_at_registrations(context, entities),
            ):
                thread = Thread(target=loop, daemon=True)
                thread.start()
                stack.callback(thread.join)
            stack.callback(self.stop.set)
            while not self.stop.is_set():
                if not context.database.leases.has(lease):
                    raise EntityBusy(
                        "this live stood still for too long, and another may have taken over: start"
                        " it again, and it waits for that"
                    )
                self._guarded(lambda: self._pass(paces))
                self.stop.wait(1.0)

    @contextmanager
    def _being_live(self, context: SyncContext) -> Iterator[int]:
        """For a block in which no other worker of the tenant is live: the lease.

        The lease of one that was killed ends within a minute, and at once on the same machine.
        """
        said, lease = False, 0
        with ExitStack() as stack:
            while not self.stop.is_set():
                try:
                    lease = stack.enter_context(context.database.leases.hold("live", LIVE))
                    break
                except EntityBusy as error:
                    if not said:
                        self.say(f"another live is there: this one waits until that ends ({error})")
                    said = True
                    self.stop.wait(_TAKEOVER)
                except WarehouseError as error:
                    self.say(str(error))
                    self.stop.wait(_TAKEOVER)
            yield lease

    def _pass(self, paces: Paces) -> None:
        """Asks the lists that are due what is new, and reads those where it is something."""
        due = paces.due()
        if not due:
            return
        try:
            changes = self.pipeline.find_changes(*due, seconds=_QUESTIONS)
        except PipelineError:
            paces.again(due)
            raise
        if changes.unasked:
            paces.again(due)
        changed = [*changes.changed]
        if not self._caught_up:  # what a worker that died left due below parents shows in no list
            below = [e.name for e in self.pipeline.select() if e.mode is SyncMode.PER_PARENT]
            changed += [name for name in below if name not in changed]
        if changed:
            self._read(changed, paces)
        self._caught_up = True

    def _read(self, names: list[str], paces: Paces) -> None:
        """Reads what is new in these; those that could not be read are due again soon."""
        found, touched = [], set[str]()
        try:
            for result in self.pipeline.sync(*names):
                if result.failure is not None and not isinstance(result.failure, EntityBusy):
                    self.say(f"{result.entity}: {result.failure}")
                if isinstance(result.failure, _MAY_PASS):
                    paces.again([result.entity])
                if result.rows_inserted or result.rows_updated:
                    found.append(result.entity)
                if result.rows_inserted or result.rows_updated or result.rows_deleted:
                    touched.add(result.entity)
        except BaseException:
            # What was read until then is published all the same.
            paces.again(names)
            with self._lock:
                self._changed |= touched
            raise
        paces.note_changes(found)

    def _add_up_runs(self, context: SyncContext) -> None:
        database = context.database

        def once() -> None:
            with database.transaction() as connection:
                add_up_runs(connection, database.tenant)

        self._repeat(once, MINUTE)

    def _drain_hints(self, context: SyncContext, entities: list[Entity], paces: Paces) -> None:
        drain = Drain(context, hinted_lists(entities))

        def once() -> None:
            drained = drain.drain()
            if drained.named:
                paces.note_hints()
                with self._lock:
                    self._changed |= drained.changed
                    self._parents |= drained.named

        self._repeat(once, _GLANCE)

    def _read_children(self, context: SyncContext, entities: list[Entity]) -> None:
        """Reads what hangs on the records that hints named, such as the notes of a ticket."""

        def once() -> None:
            with self._lock:
                parents, self._parents = self._parents, set()
            due = [e for e in entities if e.parent in parents and e.mode is SyncMode.PER_PARENT]
            left = {entity.name: entity.parent for entity in due if entity.parent}
            try:
                for entity in due:
                    result = sync_entity(entity, context, SyncRequest())
                    if result.rows_inserted or result.rows_updated or result.rows_deleted:
                        with self._lock:
                            self._changed.add(entity.name)
                    if not isinstance(result.failure, _MAY_PASS):
                        del left[entity.name]
            finally:
                with self._lock:
                    self._parents |= set(left.values())

        self._repeat(once, _CHILDREN)

    def _publish(self) -> None:
        """Has reports follow what was read."""

        def once() -> None:
            with self._lock:
                changed, self._changed = self._changed, set()
            if not changed:
                return
            try:
                self.pipeline.follow_sync(sorted(changed))
            except BaseException:
                with self._lock:
                    self._changed |= changed
                raise

        self._repeat(once, _GLANCE)

    def _refresh_behind(self) -> None:
        """Has reports follow the calendar, and what others read: the schedule leaves that to us."""

        def once() -> None:
            if behind := self.pipeline.tables_behind():
                self.pipeline.refresh_tables(behind)

        self._repeat(once, QUIET)

    def _look_at_registrations(self, context: SyncContext, entities: list[Entity]) -> None:
        """Notes hourly what is not registered as it should be, for the check `callbacks`."""
        settings, database = self.pipeline.settings, context.database
        if settings.callback_url is None:
            return

        def once() -> None:
            to_do = ", ".join(map(str, steps_to_do(context.source, settings, entities)))
            if to_do:
                self.say(f"callbacks: `{cli_command('callbacks', 'apply')}` has to {to_do}")
            with database.transaction() as connection:
                note_registrations(connection, database.tenant, to_do)

        self._repeat(once, HOUR)

    def _repeat(self, once: Callable[[], None], seconds: float) -> None:
        while not self.stop.is_set():
            self._guarded(once)
            self.stop.wait(seconds)

    def _guarded(self, once: Callable[[], None]) -> None:
        """Does something that may fail: it is tried again, unless the keys are refused."""
        try:
            once()
        except SourceDenied as error:
            self.say(str(error))
            self.stop.wait(MINUTE)
        except Interrupted:
            self.stop.wait(1.0)
        except PipelineError as error:
            self.say(str(error))
            self.stop.wait(_AFTER_ERROR)


def hinted_lists(entities: list[Entity]) -> dict[str, list[Entity]]:
    """The entities among these that each type of callback is about; types in small letters."""
    types = callback_types(entity.name for entity in entities)
    return {name.lower(): [CATALOG[each] for each in lists] for name, lists in types.items()}


@contextmanager
def receiver_beside(
    settings: Settings, entities: list[Entity], host: str, port: int, say: Callable[[str], None]
) -> Iterator[None]:
    """Inside the block a receiver runs in a process of its own, and is started again if it ends."""
    given = {
        "listeners": [
            {
                "tenant": settings.schema_,
                "site": settings.site,
                "company": settings.company,
                "token": callback_token(settings),
                "wanted": sorted(hinted_lists(entities)),
            }
        ],
        "address": composition.dsn(settings),
        "ca_file": settings.ca_file,
        "host": host,
        "port": port,
    }
    ended = Event()

    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "cw_pipeline.live.receiver"],
            stdin=subprocess.PIPE,
            # What it needs of our settings comes by the pipe: the keys of the API are not among it.
            env={k: v for k, v in child_environment().items() if not k.upper().startswith("CW_")},
            text=True,
            start_new_session=True,  # Ctrl-C is for us: it ends when its stdin does
        )
        assert child.stdin is not None
        # By a pipe: other accounts may see arguments, and the address has a password.
        child.stdin.write(json.dumps(given) + "\n")
        child.stdin.flush()
        return child

    child = start()

    def watch() -> None:
        nonlocal child
        while not ended.wait(1.0):
            if (code := child.poll()) is not None:
                say(f"the receiver ended with {code}, and is started again in {_AFTER_ERROR:.0f} s")
                if not ended.wait(_AFTER_ERROR):
                    child = start()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if child.stdin is not None:
            child.stdin.close()
        child.wait()
