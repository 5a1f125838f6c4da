"""Reads the records that hints name, and merges them as a pass does.

    due hints ─► newer than the row? ─► id in (…) ─► merge ─► hint removed
                      │ no: removed         └─ absent ─► "deleted": asked again, then soft-deleted
                                                       └ else: asked later, then left to a pass

Neither watermark nor cursor moves. A hint is removed only if no callback came for the record
meanwhile, so a crash between any two steps costs one more request and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import EntityBusy, Interrupted
from cw_pipeline.live.hints import (
    due_hints,
    make_parents_due,
    note_read,
    parents_of,
    postpone_hints,
    remove_hints,
)
from cw_pipeline.model import SyncMode
from cw_pipeline.sync.deletes import not_listed_twice
from cw_pipeline.sync.run import run_entity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cw_pipeline.errors import PipelineError
    from cw_pipeline.live.hints import DueHint
    from cw_pipeline.model import Entity, SyncResult
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.sync.run import Run

log = logging.getLogger(__name__)

_AT_ONCE = 1000  # hints
_TRIES = 4  # questions for a record whose answer is older than its hint: after 1, 2, 4 and 8 s
_FAILED = timedelta(seconds=30)  # between tries while the list cannot be read
_GIVEN_UP = 20  # tries, after which a pass is left to do it: ten minutes
_AN_HOUR = 3600.0


@dataclass(slots=True)
class Drained:
    """What came of some hints: the entities in which rows changed, and those whose parents did."""

    changed: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Drain:
    """Reads what hints name. `lists`: the entities that a type, in small letters, is about."""

    context: SyncContext
    lists: Mapping[str, Sequence[Entity]]
    _deleted: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)

    def drain(self, drained: Drained | None = None) -> Drained:
        """Reads the records of the hints that are due. A list that fails is asked again later.

        What comes of it is added to `drained` as it is committed: that holds if this raises, too.
        """
        drained = Drained() if drained is None else drained
        database = self.context.database
        with database.connection() as connection:
            due = due_hints(connection, database.schema, _AT_ONCE)
        by_type: dict[str, list[DueHint]] = {}
        for hint in due:
            by_type.setdefault(hint.type, []).append(hint)
        for name, hints in by_type.items():
            self._read_type(self.lists.get(name, ()), hints, drained)
        return drained

    def _read_type(
        self, entities: Sequence[Entity], hints: list[DueHint], drained: Drained
    ) -> None:
        """Reads the records of one type, in the first of its lists that has them."""
        left, is_read = hints, True
        for entity in entities:
            if not left:
                break
            if entity.mode is SyncMode.PER_PARENT:
                self._make_parents_due(entity, left, drained)
                return
            found = self._read_entity(entity, left, drained)
            is_read = is_read and found is not None
            left = [hint for hint in left if found is None or hint.record_id not in found]
        if is_read:
            self._remove_absent(left)
        else:
            self._settle([], [hint for hint in left if hint.tries < _GIVEN_UP], _FAILED)
            self._settle([hint for hint in left if hint.tries >= _GIVEN_UP])

    def _make_parents_due(self, entity: Entity, hints: list[DueHint], drained: Drained) -> None:
        """Has a list below a parent read again where its records are stored. It deletes by itself.

        A record that is not stored was there neither when its parent was read, nor when it was
        added, which its message says of the parent.
        """
        assert entity.parent is not None
        database, above = self.context.database, CATALOG[entity.parent]
        with database.transaction() as connection:
            ids = parents_of(
                connection, database.schema, entity.table, [hint.record_id for hint in hints]
            )
            make_parents_due(connection, database.schema, above.table, [entity.name], ids)
        if ids:
            drained.named.add(above.name)
        self._settle(hints)

    def _read_entity(
        self, entity: Entity, hints: list[DueHint], drained: Drained
    ) -> set[int] | None:
        """The ids that this list is done with; None if it could not be read."""

        def note_failure(result: SyncResult, failure: PipelineError) -> None:
            if isinstance(failure, Interrupted):
                raise failure
            if not isinstance(failure, EntityBusy):
                log.warning("%s: hints are tried again later: %s", result.entity, failure)

        def work(run: Run) -> set[int]:
            done = self._read(run, hints)
            if run.result.rows_inserted or run.result.rows_updated or run.result.rows_deleted:
                drained.changed.add(entity.name)
            return done

        done = run_entity(self.context, entity, "hint", work, note_failure)
        if done:
            drained.named.add(entity.name)
            children = [each.name for each in CATALOG.values() if each.parent == entity.name]
            database = self.context.database
            with database.transaction() as connection:
                make_parents_due(connection, database.schema, entity.table, children, [*done])
            with (
                database.transaction() as connection
            ):  # alone: passes lock both the other way round
                note_read(connection, database.schema, entity.name)
        return done

    def _read(self, run: Run, hints: list[DueHint]) -> set[int]:
        """The ids that the list has, or had. Their hints are settled."""
        stored = run.store.stored_hashes([hint.record_id for hint in hints])
        stamps = {row_id: stamp for row_id, (_, stamp) in stored.items()}
        known = [hint for hint in hints if _is_older(hint, stamps.get(hint.record_id))]
        self._settle(known)
        asked = [hint for hint in hints if hint not in known]
        read: dict[int, datetime | None] = {}
        for batch in run.reader.read_ids(
            [hint.record_id for hint in asked], until_all_are_read=True
        ):
            run.load(batch, judged=False)
            read.update(dict.fromkeys(batch.listed_ids))
            read.update(zip(batch.ids, batch.last_updated, strict=True))
        late = [h for h in asked if h.record_id in read and _is_late(read[h.record_id], h)]
        good = [hint for hint in asked if hint.record_id in read and hint not in late]
        gone = [hint for hint in asked if hint.record_id not in read and hint.action == "deleted"]
        had = [hint for hint in gone if hint.record_id in stamps]
        self._delete(run, [hint.record_id for hint in had])
        self._settle([*good, *had])
        for hint in late:
            self._ask_later(hint)
        return {hint.record_id for hint in (*known, *good, *late, *had)}

    def _delete(self, run: Run, ids: list[int]) -> None:
        """Soft-deletes rows that a second question does not find either, so many in an hour.

        What goes beyond the delete guard's share is left to the next reconcile, which shows why.
        """
        gone = not_listed_twice(run, ids)
        if not gone:
            return
        recent = self._deleted.setdefault(run.entity.name, deque())
        while recent and recent[0][0] < time.monotonic() - _AN_HOUR:
            recent.popleft()
        already = sum(rows for _, rows in recent)
        share = int(run.store.rows_when_opened() * run.limits.max_delete_fraction)
        if already + len(gone) > max(1, share):
            run.result.warnings.append(
                f"{len(gone)} more deletes within an hour than CW_MAX_DELETE_FRACTION allows: left"
                " to the next reconcile"
            )
            return
        run.result.rows_deleted += run.store.soft_delete(gone, before=run.store.opened_at)
        recent.append((time.monotonic(), len(gone)))

    def _remove_absent(self, hints: list[DueHint]) -> None:
        """What no list has: a record that is gone, not visible yet, or hidden from our role.

        Deletes nothing. One that may come is asked for again, and then left to a pass.
        """
        self._settle([hint for hint in hints if hint.action == "deleted"])
        for hint in hints:
            if hint.action != "deleted":
                self._ask_later(hint)

    def _ask_later(self, hint: DueHint) -> None:
        if hint.tries < _TRIES:
            self._settle([], [hint], timedelta(seconds=2**hint.tries))
        else:
            self._settle([hint])

    def _settle(
        self, done: Sequence[DueHint], later: Sequence[DueHint] = (), wait: timedelta = _FAILED
    ) -> None:
        database = self.context.database
        if not done and not later:
            return
        with database.transaction() as connection:
            remove_hints(connection, database.schema, done)
            postpone_hints(connection, database.schema, later, wait)


def _is_older(hint: DueHint, stored: datetime | None) -> bool:
    """Whether the stored row is newer than the hint: stamps are whole seconds, so not if equal."""
    known = hint.stamp is not None and stored is not None
    return known and hint.action != "deleted" and bool(stored > hint.stamp)  # type: ignore[operator]


def _is_late(read: datetime | None, hint: DueHint) -> bool:
    """Whether an answer is older than the hint: the source was asked before it shows its edit."""
    known = hint.stamp is not None and read is not None
    return known and hint.action != "deleted" and bool(read < hint.stamp)  # type: ignore[operator]
