"""The proof, start to finish: is the warehouse what ConnectWise holds, and if not, make it so."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import (
    ENDS_THE_RUN,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)
from cw_pipeline.model import Audit, Entity, SyncMode
from cw_pipeline.sync.context import in_parent_order
from cw_pipeline.sync.deletes import (
    DeleteGuard,
    delete_or_list,
    first_ids,
    id_only_entity,
    listed_ids,
    not_listed_twice,
)
from cw_pipeline.sync.full import full_sync
from cw_pipeline.sync.list_reader import ListReader, PageWalk
from cw_pipeline.sync.per_parent import PerParentSync
from cw_pipeline.sync.replay import retry_due_dead_letters
from cw_pipeline.sync.run import Run, as_pipeline_error, run_entity
from cw_pipeline.warehouse import ListSnapshot
from cw_pipeline.warehouse.status import was_readable
from cw_pipeline.warehouse.tables import mark_unwatched_rows
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cw_pipeline.model import Batch
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse import ListDifference


def reconcile_by_sweep(run: Run, guard: DeleteGuard) -> Audit:
    """Compares a list with its table and mends the table. Raises if the sweep is incomplete."""
    audit = Audit(run.entity.name)
    counted = run.count_source()
    sweep = ListSnapshot(run.context.database, run.entity, run.store.opened_at)
    shown, nameless = _fill(run, sweep)
    why_more = _explain_count(run, counted, shown)
    difference = sweep.difference()
    audit.source_rows, audit.warehouse_rows = difference.source_rows, difference.warehouse_rows
    audit.missing, audit.stale = len(difference.missing), len(difference.stale)
    audit.extra = len(difference.extra)
    if difference.source_rows and difference.warehouse_rows and not difference.stamped:
        # It was empty at its first pass and could not show it then: no window finds its changes,
        # and ids alone do not prove what the records say.
        audit = reconcile_by_full_read(run, guard)
        run.learn(filterable=False)  # now that reading it whole is known to work
        return audit
    unrepaired = [*_repair(run, audit, difference)]
    if nameless:
        unrepaired.append(f"{count(nameless, 'record')} listed without an id that can be kept")
    gone = not_listed_twice(run, difference.extra)
    why = _reason_to_keep(run, difference, gone, guard, counted)
    warning = delete_or_list(run, gone, why, run.store.opened_at)
    run.store.count_rows()
    run.result.source_rows = counted
    audit.deleted = run.result.rows_deleted
    audit.detail = "; ".join(part for part in (*unrepaired, why_more, warning) if part)
    audit.proven = not audit.detail
    return audit


def reconcile_by_full_read(run: Run, guard: DeleteGuard) -> Audit:
    """A list that is read whole anyway: its pass is the comparison."""
    result, counted = run.result, run.count_source()
    said_before = len(result.warnings)  # that it has no count proves nothing against it
    listed = full_sync(run, guard)
    why_more = _explain_count(run, counted, result.rows_read)
    live = run.store.count_rows()
    detail = result.warnings[said_before:]
    if result.dead_letters:
        detail.append(f"{count(result.dead_letters, 'record')} kept as dead letters")
    elif why_more:
        detail.append(why_more)
    elif listed != live and not detail:
        detail.append(f"{count(listed, 'record')} listed, {count(live, 'row')} in the table")
    return _audit_of_pass(run, listed, live, detail)


def reconcile_per_parent(run: Run, parent: Entity, guard: DeleteGuard) -> Audit:
    """A list below parents: every parent's children, or as many as the request share allows.

    Parents are those that the source lists, also where our own table lacks them.
    """
    result = run.result
    stored, nameless = run.store.count_parents(parent)
    asks_all = stored <= run.limits.sweep
    listed = _listed_parents(run, parent) if asks_all else None
    PerParentSync(run, parent, guard).sync(whole=asks_all, listed=listed and sorted(listed))
    oldest, _ = run.store.oldest_parent_read(parent)
    whole = oldest is None or oldest >= run.store.opened_at
    detail = [*result.warnings]
    if result.dead_letters:
        detail.append(f"{count(result.dead_letters, 'record')} kept as dead letters")
    if asks_all and listed is None:
        detail.append(f"{parent.name} does not say which parents there are")
    if nameless:
        detail.append(
            f"{count(nameless, 'dead letter')} of {parent.name} without an id: their children are"
            " not read"
        )
    if not whole:
        detail.append(f"the oldest parent's children were last read at {moment(oldest)}")
    source_rows = result.rows_read if whole else None
    return _audit_of_pass(run, source_rows, run.store.count_rows(), detail)


def _explain_count(run: Run, counted: int | None, shown: int) -> str:
    """What to say of a list that shows less than it counted before; empty if it does not.

    Counted once more at once: records may have gone meanwhile.
    """
    if counted is None or counted <= shown:
        return ""
    again = run.count_source()
    if again is None or again <= shown:
        return ""
    return (
        f"/count says {min(counted, again):,}, and {shown:,} were listed: a security role that may"
        " inquire some of the records only looks like that"
    )


def _audit_of_pass(
    run: Run, source_rows: int | None, warehouse_rows: int, detail: Sequence[str]
) -> Audit:
    """The audit of a pass that compared as it read. `detail`: why it proves nothing, if so."""
    result = run.result
    return Audit(
        run.entity.name,
        source_rows=source_rows,
        warehouse_rows=warehouse_rows,
        missing=result.rows_inserted,
        stale=result.rows_updated,
        extra=result.rows_deleted,
        healed=result.rows_inserted + result.rows_updated,
        deleted=result.rows_deleted,
        proven=not detail,
        detail="; ".join(detail),
    )


def reread(run: Run, nights: int) -> Audit:
    """Reads the next slice of a list in full, a `nights`-th of it: finds what no stamp betrays."""
    audit = Audit(run.entity.name, kind="reread", warehouse_rows=run.store.rows_when_opened())
    wanted = -(-max(1, audit.warehouse_rows or 0) // nights)
    cursor = run.store.reread_cursor
    for batch in _round(run, cursor):
        outcome = run.load(batch, read_after=run.store.opened_at)
        audit.drift += outcome.silent_changes
        audit.healed += outcome.inserted + outcome.updated
        cursor = batch.cursor or 0
        if run.result.rows_read >= wanted and cursor != run.store.reread_cursor:
            break  # but not behind a page without ids: the next slice would begin with it again
    else:
        cursor = 0  # all of it
    run.store.reread_cursor = cursor
    audit.source_rows = run.result.rows_read
    return audit


def _round(run: Run, cursor: int) -> Iterator[Batch]:
    """The list once round: from behind `cursor` to its end, and from its beginning to there."""
    query = run.reader.query()
    yield from PageWalk(run.reader, replace(query, cursor=cursor))
    if cursor:
        bounded = run.capability["filterable"] is not False
        yield from PageWalk(run.reader, replace(query, upto=cursor if bounded else None))


def _fill(run: Run, sweep: ListSnapshot) -> tuple[int, int]:
    """Puts every id and stamp of the list into the sweep, by as little as the list will send.

    How many records it showed, and how many of them have no id that can be kept: those are in no
    sweep.
    """
    slim = ListReader(run.context, id_only_entity(run.entity))
    slim.tally = run.reader.tally
    ways = ["id,_info/lastUpdated", "id"]

    def read() -> tuple[int, int]:
        shown = nameless = 0
        slim.paging = run.reader.paging
        for batch in PageWalk(slim, replace(slim.query(), fields=ways[0])):
            run.reader.pages += 1
            sweep.add(batch.ids, batch.last_updated)
            lost = [r.record_id for r in batch.rejects if r.record_id is not None]
            sweep.add(lost, [None] * len(lost))
            shown += batch.read
            nameless += len(batch.rejects) - len(lost)
        return shown, nameless

    while True:
        try:
            # Not by offsets: a record deleted meanwhile would make others look deleted.
            return run.read_with_any_paging(read, offsets=False)
        except SourceRefused:
            if len(ways) == 1:
                raise
            ways.pop(0)


def _listed_parents(run: Run, parent: Entity) -> set[tuple[int, ...]] | None:
    """The parents that the source lists now, as a child's path names them; None if it does not say.

    Also those of parents that are below a parent themselves: one question for each of those above.
    """
    if parent.parent is None:
        top = listed_ids(run, parent)
        return None if top is None else {(record_id,) for record_id in top}
    above = _listed_parents(run, CATALOG[parent.parent])
    parents: set[tuple[int, ...]] = set()
    for path in sorted(above or ()):
        try:
            ids = listed_ids(run, parent, path)
        except SourceMissing:  # it went meanwhile, or has no such list
            continue
        except SourceForbidden:
            return None
        if ids is None:
            return None
        parents |= {(*path, record_id) for record_id in ids}
    return None if above is None else parents


def _repair(run: Run, audit: Audit, difference: ListDifference) -> Iterator[str]:
    """Reads what is missing or stale again and merges it: what could not be mended, in words."""
    listed: set[int] = set()
    rejected: list[int] = []
    ids = [*difference.missing, *difference.stale]
    for batch in run.reader.read_ids(ids) if ids else ():
        outcome = run.load(batch, read_after=run.store.opened_at, judged=False)
        audit.healed += outcome.inserted + outcome.updated
        rejected += [r.record_id for r in batch.rejects if r.record_id is not None]
        rejected += outcome.refused
        listed.update(batch.listed_ids)
    run.result.rows_healed += audit.healed
    if rejected:
        yield f"{count(len(rejected), 'record')} kept as dead letters: {first_ids(rejected)}"
    if went := [record_id for record_id in ids if record_id not in listed]:
        yield f"{count(len(went), 'record')} went while they were compared: {first_ids(went)}"


def _reason_to_keep(
    run: Run,
    difference: ListDifference,
    gone: Sequence[int],
    guard: DeleteGuard,
    counted: int | None,
) -> str:
    """Why nothing may be deleted; empty if it may."""
    listed = difference.source_rows
    why = guard.reason_to_keep(run, len(gone), listed, difference.warehouse_rows)
    if why or guard.lifted or not gone or counted is None or counted == listed:
        return why
    again = run.count_source()
    low, high = sorted((counted, counted if again is None else again))
    return "" if low <= listed <= high else f"/count says {counted} and the sweep saw {listed}"


def keeps_window(run: Run) -> bool:
    """Whether the entity is compared by a sweep: it has stamps and takes a window."""
    filterable = run.capability["filterable"] is not False
    return run.entity.mode is SyncMode.INCREMENTAL and filterable


log = logging.getLogger(__name__)


def reconcile_all(
    entities: Iterable[Entity], context: SyncContext, *, apply_deletes: bool = False
) -> Iterator[Audit]:
    """The audit of each entity as it finishes; a failed one has its `failure` set.

    Deletes nothing anywhere when the API member may no longer read what it could read before, or
    when that cannot be found out.
    `apply_deletes` lifts the guard for this once. Raises SourceDenied when the keys are refused.
    """
    chosen = list(entities)
    guard = DeleteGuard(_reason_to_withhold_deletes(chosen, context), lifted=apply_deletes)
    yield from _each(chosen, context, "reconcile", lambda run: _reconcile(run, guard))


def reread_all(
    entities: Iterable[Entity], context: SyncContext, *, nights: int | None = None
) -> Iterator[Audit]:
    """The re-read of the next slice of each entity that has stamps: its audit, with the drift.

    A slice is a `nights`-th of the list; of as many as CW_REREAD_NIGHTS says, if not given.
    """
    stamped = [entity for entity in entities if entity.mode is SyncMode.INCREMENTAL]
    slices = nights or context.limits.reread_nights
    yield from _each(stamped, context, "reread", lambda run: reread(run, slices))


def _reconcile(run: Run, guard: DeleteGuard) -> Audit:
    context = run.context
    if mark_unwatched_rows(context.database.transaction, context.database.schema, run.entity):
        # No warning of the run's: it would say that the proof failed, and it is to follow.
        log.warning(
            "%s: triggers were switched off, so rows may have been changed unseen. All of them are"
            " read again",
            run.entity.name,
        )
    if run.entity.parent is not None:
        audit = reconcile_per_parent(run, CATALOG[run.entity.parent], guard)
    elif not keeps_window(run):
        audit = reconcile_by_full_read(run, guard)
    else:
        audit = reconcile_by_sweep(run, guard)
    if run.store.open_letters:
        # While the letter of a record that is gone is open, what was read below it stays.
        retry_due_dead_letters(run, unseen=True)
    return audit


def _each(
    entities: list[Entity], context: SyncContext, kind: str, examine: Callable[[Run], Audit]
) -> Iterator[Audit]:
    workers = max(1, context.limits.concurrency // 2)
    # Children follow parents that this run deletes.
    yield from in_parent_order(
        entities,
        lambda one: _examine_entity(one, context, kind, examine),
        workers,
        context.stopping,
        context.machine,
    )


def _examine_entity(
    entity: Entity, context: SyncContext, kind: str, examine: Callable[[Run], Audit]
) -> Audit:
    return run_entity(
        context,
        entity,
        kind,
        lambda run: _examine_and_record(run, examine),
        lambda _, failure: Audit(entity.name, kind, detail=str(failure), failure=failure),
    )


def _examine_and_record(run: Run, examine: Callable[[Run], Audit]) -> Audit:
    """What `examine` finds, kept in the history of audits.

    A comparison that did not come to its end is kept there too: as one that proves nothing.
    """
    try:
        audit = examine(run)
    except Exception as error:
        failure = str(as_pipeline_error(error))
        run.store.audit = Audit(run.entity.name, run.result.kind, detail=failure)
        raise
    assert audit.proven or audit.detail or audit.kind != "reconcile", "an audit says why not"
    run.store.audit = audit
    return audit


def _reason_to_withhold_deletes(entities: list[Entity], context: SyncContext) -> str:
    """Why nothing may be deleted in any list; empty if the role may read as much as before.

    One small question per list: a role that lost a list may well have lost rows of others. Where
    that cannot be found out, the deletes wait for a night on which it can.
    """
    lost: list[str] = []
    unknown: list[str] = []
    for entity in entities:
        if entity.parent is not None:
            continue
        try:
            if _is_lost(entity, context):
                lost.append(entity.name)
        except ENDS_THE_RUN:
            raise
        except Exception as error:
            log.exception("%s: unexpected", entity.name)
            unknown.append(f"{entity.name} ({as_pipeline_error(error)})")
    reasons = []
    if lost:
        reasons.append(
            f"the API member may no longer read {', '.join(lost)}: its security role has shrunk"
            " (what it shall not read any more, take out of CW_ENTITIES)"
        )
    if unknown:
        reasons.append(f"whether it may still read {', '.join(unknown)} could not be found out")
    return "; ".join(reasons)


def _is_lost(entity: Entity, context: SyncContext) -> bool:
    """Whether the role may not read a list that it could read before."""
    reader = ListReader(context, entity)
    try:
        reader.ask(replace(reader.query(), page_size=1))
    except SourceForbidden:
        with context.database.connection() as connection:
            return was_readable(connection, context.database.schema, entity.name)
    except ENDS_THE_RUN:
        raise
    except SourceError:
        return False  # no matter of rights, and its own reconcile will say what is wrong
    return False
