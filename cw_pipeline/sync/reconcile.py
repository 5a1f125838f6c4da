"""The proof, start to finish: is the warehouse what ConnectWise holds, and if not, make it so."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import (
    PipelineError,
    SourceDenied,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)
from cw_pipeline.model import LAST_UPDATED, Array, Audit, Entity, SyncMode, SyncResult
from cw_pipeline.plural import count
from cw_pipeline.sync.deletes import DeleteGuard, delete_or_list, first_ids, not_listed_twice
from cw_pipeline.sync.full import full_sync
from cw_pipeline.sync.list_reader import ListReader, PagingNotHonored
from cw_pipeline.sync.per_parent import PerParentSync
from cw_pipeline.sync.run import Run
from cw_pipeline.sync.scheduler import in_parent_order
from cw_pipeline.warehouse import ListSnapshot, open_store
from cw_pipeline.warehouse.state import was_readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cw_pipeline.model import Batch
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse import ListDifference


def reconcile_by_sweep(work: Run, guard: DeleteGuard) -> Audit:
    """Compares a list with its table and mends the table. Raises if the sweep is incomplete."""
    audit = Audit(work.entity.name)
    counted = _count(work)
    sweep = ListSnapshot(work.engine.warehouse, work.entity)
    _fill(work, sweep)
    difference, began = sweep.difference(), sweep.began
    audit.source_rows, audit.warehouse_rows = difference.source_rows, difference.warehouse_rows
    audit.missing, audit.stale = len(difference.missing), len(difference.stale)
    audit.extra = len(difference.extra)
    if difference.source_rows and difference.warehouse_rows and not difference.stamped:
        # It was empty at its first pass and could not show it then: no window finds its changes.
        work.hold.learn(filterable=False)
    left = [*_repair(work, audit, difference)]
    gone = not_listed_twice(work, difference.extra)
    why = _objection(work, difference, gone, guard, counted)
    kept = delete_or_list(work, gone, why, began)
    live = work.hold.count_rows()
    if counted is not None:
        work.hold.ledger.counted(counted, live)
    audit.deleted = work.report.rows_deleted
    audit.detail = "; ".join(part for part in (*left, kept) if part)
    audit.proven = not audit.detail
    return audit


def reconcile_by_full_read(work: Run, guard: DeleteGuard) -> Audit:
    """A list that is read whole anyway: its pass is the comparison."""
    report = work.report
    full_sync(work, guard)
    live = work.hold.count_rows()
    detail = [*report.warnings]
    if report.dead_letters:
        detail.append(f"{count(report.dead_letters, 'record')} kept as dead letters")
    return Audit(
        work.entity.name,
        source_rows=report.rows_read,
        warehouse_rows=live,
        missing=report.rows_inserted,
        stale=report.rows_updated,
        extra=report.rows_deleted,
        healed=report.rows_inserted + report.rows_updated,
        deleted=report.rows_deleted,
        proven=not detail and report.rows_read == live,
        detail="; ".join(detail),
    )


def reconcile_per_parent(work: Run, parent: Entity, guard: DeleteGuard) -> Audit:
    """A list below parents: every parent's children, or as many as the request share allows."""
    report = work.report
    began = work.hold.warehouse_now()
    PerParentSync(work, parent, guard).run(
        whole=work.hold.parents.count(parent) <= work.limits.sweep
    )
    oldest = work.hold.parents.oldest_read()
    whole = oldest is None or oldest >= began
    detail = [*report.warnings]
    if report.dead_letters:
        detail.append(f"{count(report.dead_letters, 'record')} kept as dead letters")
    if not whole:
        detail.append(f"the oldest parent's children were last read at {oldest:%Y-%m-%d %H:%M} UTC")
    return Audit(
        work.entity.name,
        source_rows=report.rows_read if whole else None,
        warehouse_rows=work.hold.count_rows(),
        missing=report.rows_inserted,
        stale=report.rows_updated,
        extra=report.rows_deleted,
        healed=report.rows_inserted + report.rows_updated,
        deleted=report.rows_deleted,
        proven=not detail,
        detail="; ".join(detail),
    )


def reread(work: Run, nights: int) -> Audit:
    """Reads the next slice of a list in full, a `nights`-th of it: finds what no stamp betrays."""
    audit = Audit(work.entity.name, kind="reread", warehouse_rows=work.hold.row_count())
    ledger = work.hold.ledger
    wanted = -(-max(1, audit.warehouse_rows or 0) // nights)
    cursor = ledger.reread_cursor()
    began = work.hold.warehouse_now()
    for batch in _round(work, cursor):
        outcome = work.load(batch, read_after=began)
        audit.drift += outcome.silent_changes
        audit.healed += outcome.inserted + outcome.updated
        cursor = batch.cursor or 0
        if work.report.rows_read >= wanted:
            break
    else:
        cursor = 0  # all of it
    ledger.reread_to(cursor)
    audit.source_rows = work.report.rows_read
    return audit


def _round(work: Run, cursor: int) -> Iterator[Batch]:
    """The list once round: from behind `cursor` to its end, and from its beginning to there."""
    query = work.reader.query()
    yield from work.reader.walk(replace(query, cursor=cursor))
    if cursor:
        bounded = work.hold.capability()["filterable"] is not False
        yield from work.reader.walk(replace(query, upto=cursor if bounded else None))


def _count(work: Run) -> int | None:
    if not work.entity.count or work.hold.capability()["count"] is False:
        return None
    try:
        return work.reader.count()
    except SourceError as error:
        if isinstance(error, SourceMissing | SourceRefused):
            work.hold.learn(count=False)  # anything else may pass
        return None


def _fill(work: Run, sweep: ListSnapshot) -> None:
    """Puts every id and stamp of the list into the sweep, by as little as the list will send."""
    slim = ListReader(work.engine, _id_only_entity(work.entity))
    slim.tally, slim.paging, slim.page_size = (
        work.reader.tally,
        work.reader.paging,
        work.reader.page_size,
    )
    ways = ["id,_info/lastUpdated", "id"]
    while True:
        try:
            for batch in _pages(slim, ways[0]):
                work.reader.pages += 1
                sweep.add(batch.ids, batch.last_updated)
                lost = [r.record_id for r in batch.rejects if r.record_id is not None]
                sweep.add(lost, [None] * len(lost))
        except SourceRefused:
            if len(ways) == 1:
                raise
            ways.pop(0)
        except PagingNotHonored:
            if slim.paging is not Paging.FORWARD:
                raise
            slim.paging = work.reader.paging = Paging.KEYSET
        else:
            return


def _pages(slim: ListReader, fields: str) -> Iterable[Batch]:
    return slim.walk(replace(slim.query(), fields=fields))


def _id_only_entity(entity: Entity) -> Entity:
    """The entity with nothing but id and stamp."""
    arrays: tuple[Array, ...] = ()
    kept = tuple(c for c in entity.columns if c.path in (("id",), LAST_UPDATED))
    return replace(entity, columns=kept, arrays=arrays)


def _repair(work: Run, audit: Audit, difference: ListDifference) -> Iterator[str]:
    """Reads what is missing or stale again and merges it: what could not be mended, in words."""
    began = work.hold.warehouse_now()
    found: set[int] = set()
    rejected: list[int] = []
    ids = [*difference.missing, *difference.stale]
    for batch in work.reader.read_ids(ids) if ids else ():
        outcome = work.load(batch, read_after=began, judged=False)
        audit.healed += outcome.inserted + outcome.updated
        rejected += [r.record_id for r in batch.rejects if r.record_id is not None]
        found.update(batch.listed_ids)
    work.report.rows_healed += audit.healed
    if rejected:
        yield f"{count(len(rejected), 'record')} kept as dead letters: {first_ids(rejected)}"
    if went := [own for own in difference.stale if own not in found]:
        yield f"{count(len(went), 'record')} went while they were compared: {first_ids(went)}"


def _objection(
    work: Run,
    difference: ListDifference,
    gone: Sequence[int],
    guard: DeleteGuard,
    counted: int | None,
) -> str:
    """Why nothing may be deleted; empty if it may."""
    listed = difference.source_rows
    why = guard.reason_to_keep(work, len(gone), listed, difference.warehouse_rows)
    if why or guard.lifted or not gone or counted is None or counted == listed:
        return why
    again = _count(work)
    low, high = sorted((counted, counted if again is None else again))
    return "" if low <= listed <= high else f"/count says {counted} and the sweep saw {listed}"


def keeps_window(work: Run) -> bool:
    """Whether the entity is compared by a sweep: it has stamps and takes a window."""
    filterable = work.hold.capability()["filterable"] is not False
    return work.entity.mode is SyncMode.INCREMENTAL and filterable


log = logging.getLogger(__name__)


def reconcile_all(
    entities: Iterable[Entity], engine: SyncContext, *, apply_deletes: bool = False
) -> Iterator[Audit]:
    """The audit of each entity as it finishes; a failed one has its `failure` set.

    Deletes nothing anywhere when the API member may no longer read what it could read before.
    `apply_deletes` lifts the guard for this once. Raises SourceDenied when the keys are refused.
    """
    chosen = list(entities)
    guard = DeleteGuard(withheld=_is_no_longer_readable(chosen, engine), lifted=apply_deletes)
    yield from _each(chosen, engine, "reconcile", lambda work: _reconciled(work, guard))


def reread_all(
    entities: Iterable[Entity], engine: SyncContext, *, nights: int | None = None
) -> Iterator[Audit]:
    """The re-read of the next slice of each entity that has stamps: its audit, with the drift.

    A slice is a `nights`-th of the list; of as many as CW_REREAD_NIGHTS says, if not given.
    """
    stamped = [entity for entity in entities if entity.mode is SyncMode.INCREMENTAL]
    slices = nights or engine.limits.reread_nights
    yield from _each(stamped, engine, "reread", lambda work: reread(work, slices))


def _reconciled(work: Run, guard: DeleteGuard) -> Audit:
    if work.entity.parent is not None:
        return reconcile_per_parent(work, CATALOG[work.entity.parent], guard)
    if not keeps_window(work):
        return reconcile_by_full_read(work, guard)
    return reconcile_by_sweep(work, guard)


def _each(
    entities: list[Entity], engine: SyncContext, kind: str, examine: Callable[[Run], Audit]
) -> Iterator[Audit]:
    workers = max(1, engine.limits.concurrency // 2)
    # Children follow parents that this run deletes.
    yield from in_parent_order(
        entities, lambda one: _examined(one, engine, kind, examine), workers, engine.stopping
    )


def _examined(
    entity: Entity, engine: SyncContext, kind: str, examine: Callable[[Run], Audit]
) -> Audit:
    report = SyncResult(entity.name, kind)
    try:
        with open_store(engine.warehouse, entity, kind, engine.dagster_run_id) as hold:
            work = Run.of(engine, hold, report)
            if hold.capability()["forward_only"] is False and entity.has_id:
                work.reader.paging = Paging.KEYSET
            return _accounted(work, examine)
    except SourceDenied:
        raise
    except PipelineError as error:
        log.error("%s: %s", entity.name, error)  # noqa: TRY400 - expected and named: no trace
        return Audit(entity.name, kind, detail=str(error), failure=error)


def _accounted(work: Run, examine: Callable[[Run], Audit]) -> Audit:
    """Examines, and writes the audit and the run's row whatever comes of it."""
    status = "failed"
    why: str | None = "interrupted"
    try:
        audit = examine(work)
        work.report.row_count = work.hold.row_count()
        work.hold.ledger.write_audit(audit)
        status, why = "done", None
    except Exception as error:
        why = str(error) or type(error).__name__
        # An unfinished comparison proves nothing, and says so in the history too.
        work.hold.ledger.write_audit(Audit(work.entity.name, work.report.kind, detail=why))
        raise
    finally:
        work.totals(status, why)
    return audit


def _is_no_longer_readable(entities: list[Entity], engine: SyncContext) -> str:
    """Which lists the role may no longer read, in words; empty if it may read as much as before.

    One small question per list: a role that lost a list may well have lost rows of others.
    """
    lost = [
        entity.name
        for entity in entities
        if entity.parent is None and _lists_no_longer_readable(entity, engine)
    ]
    if not lost:
        return ""
    return (
        f"the API member may no longer read {', '.join(lost)}: its security role has shrunk (what"
        " it shall not read any more, take out of CW_ENTITIES)"
    )


def _lists_no_longer_readable(entity: Entity, engine: SyncContext) -> bool:
    reader = ListReader(engine, entity)
    try:
        reader.ask(replace(reader.query(), page_size=1))
    except SourceForbidden:
        with engine.warehouse.connection() as connection:
            return was_readable(connection, engine.warehouse.tenant, entity.name)
    except SourceDenied:
        raise
    except SourceError:
        return False  # its own reconcile will say what is wrong
    return False
