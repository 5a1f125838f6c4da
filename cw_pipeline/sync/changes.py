"""Which lists have something new: a question each, and no pass where the answer is nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

from typing_extensions import override

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import Policy
from cw_pipeline.errors import ENDS_THE_RUN, Interrupted, PipelineError, SourceBusy
from cw_pipeline.model import SyncMode
from cw_pipeline.sync.list_reader import ListReader
from cw_pipeline.sync.paces import kept_by_live, leader
from cw_pipeline.transform import decode_ids
from cw_pipeline.transform.pages import RecordFingerprints
from cw_pipeline.warehouse.lease import live_is_alive
from cw_pipeline.warehouse.merge import stored_hashes
from cw_pipeline.warehouse.promotions import entities_with_promotions
from cw_pipeline.warehouse.rounds import advance_watermarks, list_states, refused_lists
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cw_pipeline.connectwise import Query
    from cw_pipeline.model import ClockReading, Entity
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse.rounds import ListRefusal, ListState

log = logging.getLogger(__name__)

_HASTY = Policy(attempts=2, wait_initial=0.3, wait_max=1, patience=10)
"""A round has little time, and what fails in it is read by a pass, which has more."""

_ROTATION = timedelta(hours=1)  # between passes over children of parents that did not change
_REFUSED = timedelta(hours=1)  # between passes over a list that answers 403 or 404
_ABSENT = timedelta(days=7)  # the same below parents, once it was found not to be there


@dataclass(frozen=True, slots=True)
class Changes:
    """What a round of questions found.

    `changed` are the entities that a pass should read, parents before children. `unasked` lists
    come first in the next round; `stopped` says why there are some. `kept_by_live` counts those
    that were left to a worker that stays.
    """

    changed: tuple[str, ...]
    unchanged: int
    unasked: int = 0
    stopped: str | None = None
    kept_by_live: int = 0
    requests: int = 0

    @override
    def __str__(self) -> str:
        if self.kept_by_live and not (self.changed or self.unchanged or self.unasked):
            return f"live has just asked {count(self.kept_by_live, 'list')}"
        lists = count(self.unchanged + self.unasked + len(self.changed), "list")
        if self.unasked:
            asked = self.unchanged + len(self.changed)
            why = f"{self.stopped or 'time was up'}, {asked} of {lists} asked"
            return f"nothing changed, but {why}" if not self.changed else why
        return (
            f"{len(self.changed)} of {lists} changed"
            if self.changed
            else (f"nothing changed in {lists}")
        )


def find_changes(
    context: SyncContext, entities: Sequence[Entity], seconds: float, *, beside_live: bool = False
) -> Changes:
    """Asks each list for its first page of what is new, for so many seconds at most.

    Where that is nothing, or what the overlap with the last pass shows again, the watermark moves
    on to the time before the first question: everything until then is in the warehouse. An entity
    counts as changed, too, if it was never synced, is in the middle of a pass, has dead letters
    that are due, takes no such question, or fails to answer: a pass then shows what is wrong. One
    that answers 403 or 404 is left to a pass an hour. Lists below a parent count as changed with
    their parent, or when their rotation is due.

    `beside_live`: lists that a worker that stays has just asked are left to it, for as long as it
    lives. Where it fails to read one, that one is asked.

    Raises what ends a run: SourceDenied, SourceUnreachable.
    """
    tenant = context.database.schema
    names = {entity.name for entity in entities} | {leader(entity) for entity in entities}
    with context.database.connection() as connection:
        states = list_states(connection, tenant, [*names])
        kept = set[str]()
        if beside_live and live_is_alive(connection, tenant):
            kept = _kept_by_live(context, entities, states)
        refused = refused_lists(connection, tenant, [*names])
        resting = {
            entity.name
            for entity in entities
            if (since := refused.get(entity.name)) and since.age < _rest(entity, since)
        }
        entities = [entity for entity in entities if entity.name not in kept | resting]
        promoted = entities_with_promotions(connection, tenant, entities)
    if not entities:
        return Changes((), 0, kept_by_live=len(kept))
    context.source.find_codebase()
    clock = context.source.now()  # before the first question
    rounds = _Round(context, states, clock)
    asked = [entity for entity in promoted if rounds.is_asked(entity)]
    asked.sort(key=lambda entity: states[entity.name].updated_at)
    rounds.ask(asked, seconds)
    unchanged = [name for name, changed in rounds.found.items() if not changed]
    if unchanged:
        with context.database.transaction() as connection:
            moment = clock.at.replace(microsecond=0)
            advance_watermarks(connection, tenant, unchanged, moment, clock.reference)
    changed = rounds.lists_to_read(promoted)
    unasked = len(asked) - len(rounds.found)
    quiet = len(entities) - len(changed) - unasked
    return Changes(tuple(changed), quiet, unasked, rounds.stopped, len(kept), rounds.requests)


def _kept_by_live(
    context: SyncContext, entities: Sequence[Entity], states: dict[str, ListState]
) -> set[str]:
    """What a worker that stays keeps up to date, but for lists below parents that it does not.

    One that was never read whole has no age: it is not left to a worker that leaves first loads.
    """
    asked = {name: state.since_asked for name, state in states.items() if state.since_asked}
    kept = kept_by_live(entities, asked)
    most = context.limits.children_max_age + 2 * _ROTATION
    ages = {name: state.age for name, state in states.items() if state.age is not None}
    return {n for n in kept if CATALOG[n].parent is None or (n in ages and ages[n] <= most)}


def _rest(entity: Entity, refusal: ListRefusal) -> timedelta:
    """How long a list that was refused is not asked again."""
    return _ABSENT if entity.parent is not None and refusal.is_final else _REFUSED


class _Round:
    """One round: what each list that was asked has answered."""

    def __init__(
        self, context: SyncContext, states: dict[str, ListState], clock: ClockReading
    ) -> None:
        self._context = context
        self._states = states
        self._clock = clock
        self._over = Event()  # not the context's: an interrupt of others is not ours to take back
        self.found: dict[str, bool] = {}
        self._readers: list[ListReader] = []
        self.stopped: str | None = None

    @property
    def requests(self) -> int:
        """How many requests were made."""
        return sum(reader.tally.requests for reader in self._readers)

    def is_asked(self, entity: Entity) -> bool:
        """Whether the list can be asked what is new, and need not be read anyhow."""
        state = self._states.get(entity.name)
        if state is None or state.busy or state.checkpoint.watermark is None:
            return False
        if entity.mode is not SyncMode.INCREMENTAL or not entity.has_id:
            return False
        stored = state.checkpoint
        if stored.was_set_forward(self._clock):
            return False
        return stored.trusted_watermark(self._clock) == stored.watermark  # else it was set back

    def ask(self, entities: Iterable[Entity], seconds: float) -> None:
        """Asks these lists side by side until time is up."""
        context = self._context
        cancel = context.machine.after(seconds, self._over.set)
        try:
            with context.machine.executor(context.limits.concurrency, "changes") as pool:
                for name, changed in pool.map(self._ask_one, entities):
                    if changed is not None:
                        self.found[name] = changed
        finally:
            cancel()

    def _ask_one(self, entity: Entity) -> tuple[str, bool | None]:
        """Whether the list has something new; None: it was not asked."""
        if self._over.is_set() or self._context.stopping.is_set():
            return entity.name, None
        try:
            return entity.name, self._has_news(entity)
        except Interrupted:
            return entity.name, None
        except SourceBusy as error:
            self._over.set()
            self.stopped = f"ConnectWise asks for a pause of {error.retry_after or 60:.0f} s"
            return entity.name, None
        except ENDS_THE_RUN:
            self._over.set()
            raise
        except PipelineError as error:
            log.info("%s: asked what is new: %s", entity.name, error)
            return entity.name, True

    def _has_news(self, entity: Entity) -> bool:
        context, state = self._context, self._states[entity.name]
        reader = ListReader(context, entity)
        self._readers.append(reader)
        reader.page_size = min(reader.page_size, state.page_size or reader.page_size)
        opened = state.checkpoint.open_pass(self._clock, context.limits.overlap)
        assert opened.window is not None
        query = reader.query().changed_in(opened.window)
        body = self._answer(reader, query)
        if reader.mask is not None:
            body = reader.mask.mask_page(body)
        if body.strip() == b"[]":
            return False
        page = RecordFingerprints(entity).fingerprint_page(body)
        if page is None or len(page.ids) >= query.page_size:
            return True
        with context.database.connection() as connection:
            stored = stored_hashes(connection, context.database.schema, entity, page.ids)
        seen = zip(page.ids, page.sources, page.last_updated, strict=True)
        if any(stored.get(record_id) != (source, stamp) for record_id, source, stamp in seen):
            return True
        # A short page may be the server's own limit: only an empty one is the end.
        last = max(page.ids, default=0)
        behind = replace(query.next_page(last), page_size=1, fields="id")
        return any(record_id > last for record_id in decode_ids(self._answer(reader, behind)))

    def _answer(self, reader: ListReader, query: Query) -> bytes:
        """What the list answers, or an error that says so soon. Raises Interrupted at the end.

        One that has begun by then is left to itself: it may wait for its turn.
        """
        pending = reader.fetch(query, policy=_HASTY)
        try:
            reader.context.wait_for(pending, self._over)
        except Interrupted:
            pending.cancel()
            raise
        return pending.result()

    def lists_to_read(self, entities: Iterable[Entity]) -> list[str]:
        """What a pass should read, in the order given."""
        names: list[str] = []
        for entity in entities:
            if entity.mode is SyncMode.PER_PARENT:
                due = entity.parent in names or self._is_rotation_due(entity)
            else:
                due = self.found.get(entity.name, not self.is_asked(entity))
            if due:
                names.append(entity.name)
        return names

    def _is_rotation_due(self, entity: Entity) -> bool:
        """Whether some parent's children are older than they may be, at most once an hour.

        More often while the rotation is behind.
        """
        state, most = self._states.get(entity.name), self._context.limits.children_max_age
        if state is None or state.busy or state.age is None:
            return True
        if state.age <= most:
            return False
        return state.since_pass >= _ROTATION or state.age > most + _ROTATION
