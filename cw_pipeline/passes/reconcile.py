"""Proof: sweep the whole list's ids and stamps, compare, heal, and delete what is really gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cw_pipeline.errors import SourceError, SourceRefused
from cw_pipeline.extract import Paging
from cw_pipeline.model import Array, Audit, Entity, Keeping
from cw_pipeline.passes.children import ChildrenPass
from cw_pipeline.passes.reader import NotForward, Reader
from cw_pipeline.passes.retire import allowance
from cw_pipeline.passes.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cw_pipeline.load import Difference, Sweep
    from cw_pipeline.model import Batch
    from cw_pipeline.passes.work import Work

_STAMP = ("_info", "lastUpdated")
_SHOWN = 20


@dataclass(slots=True)
class Guard:
    """What keeps a reconcile from deleting. `lifted` by the operator, once."""

    withheld: str = ""
    lifted: bool = False


def reconcile_window(work: Work, guard: Guard) -> Audit:
    """Compares a list with its table and mends the table. Raises if the sweep is incomplete."""
    audit = Audit(work.entity.name)
    counted = _count(work)
    with work.engine.warehouse.sweep(work.entity) as sweep:
        _fill(work, sweep)
        difference = sweep.difference()
    audit.source_rows, audit.warehouse_rows = difference.source_rows, difference.warehouse_rows
    audit.missing, audit.stale = len(difference.missing), len(difference.stale)
    audit.extra = len(difference.extra)
    left = _heal(work, audit, [*difference.missing, *difference.stale])
    withheld = _retire(work, audit, difference, guard, counted)
    audit.detail = "; ".join(part for part in (left, withheld) if part)
    audit.proven = not audit.detail
    return audit


def reconcile_snapshot(work: Work) -> Audit:
    """A list that is read whole anyway: its pass is the comparison."""
    report = work.report
    snapshot(work)
    live = work.hold.row_count()
    detail = [*report.warnings]
    if report.dead_letters:
        detail.append(f"{report.dead_letters} records are dead letters")
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


def reconcile_children(work: Work, parent: Entity) -> Audit:
    """A list below parents: every parent's children, or as many as the request share allows."""
    report = work.report
    began = work.hold.clock()
    ChildrenPass(work, parent).run(whole=work.hold.live_parents(parent) <= work.limits.sweep)
    oldest = work.hold.oldest_parent()
    whole = oldest is None or oldest >= began
    detail = [*report.warnings]
    if report.dead_letters:
        detail.append(f"{report.dead_letters} records are dead letters")
    if not whole:
        detail.append(f"the oldest parent's children were last read at {oldest:%Y-%m-%d %H:%M} UTC")
    return Audit(
        work.entity.name,
        source_rows=report.rows_read if whole else None,
        warehouse_rows=work.hold.row_count(),
        missing=report.rows_inserted,
        stale=report.rows_updated,
        extra=report.rows_deleted,
        healed=report.rows_inserted + report.rows_updated,
        deleted=report.rows_deleted,
        proven=not detail,
        detail="; ".join(detail),
    )


def reread(work: Work, nights: int) -> Audit:
    """Reads the next slice of a list in full, a `nights`-th of it: finds what no stamp betrays."""
    audit = Audit(work.entity.name, kind="reread", warehouse_rows=work.hold.row_count())
    ledger, size = work.hold.ledger, work.reader.page_size
    pages = -(-max(1, audit.warehouse_rows or 0) // (nights * size))
    cursor = ledger.reread_cursor()
    began = work.hold.clock()
    batches = work.reader.walk(replace(work.reader.query(), cursor=cursor))
    for page, batch in enumerate(batches, 1):
        outcome = work.load(batch, read_after=began)
        audit.drift += outcome.drifted
        audit.healed += outcome.inserted + outcome.updated
        cursor = batch.cursor or 0
        if page == pages:
            break
    else:
        cursor = 0  # the end of the list: begin anew next time
    ledger.reread_to(cursor)
    audit.source_rows = work.report.rows_read
    return audit


def _count(work: Work) -> int | None:
    if not work.entity.count or work.hold.capability()["count"] is False:
        return None
    try:
        return work.reader.count()
    except SourceError:
        work.hold.remember(count=False)
        return None


def _fill(work: Work, sweep: Sweep) -> None:
    """Puts every id and stamp of the list into the sweep, by as little as the list will send."""
    slim = Reader(work.engine, _slim(work.entity))
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
                sweep.add(batch.ids, batch.stamps)
                lost = [r.record_id for r in batch.rejects if r.record_id is not None]
                sweep.add(lost, [None] * len(lost))
        except SourceRefused:
            if len(ways) == 1:
                raise
            ways.pop(0)
        except NotForward:
            if slim.paging is not Paging.FORWARD:
                raise
            slim.paging = work.reader.paging = Paging.KEYSET
        else:
            return


def _pages(slim: Reader, fields: str) -> Iterable[Batch]:
    return slim.walk(replace(slim.query(), fields=fields))


def _slim(entity: Entity) -> Entity:
    """The entity with nothing but id and stamp."""
    arrays: tuple[Array, ...] = ()
    kept = tuple(c for c in entity.columns if c.path in (("id",), _STAMP))
    return replace(entity, columns=kept, arrays=arrays)


def _heal(work: Work, audit: Audit, ids: Sequence[int]) -> str:
    """Reads records again and merges them: what could not be mended, in words."""
    began = work.hold.clock()
    rejected: list[int] = []
    for batch in work.reader.records(ids) if ids else ():
        outcome = work.load(batch, read_after=began, judged=False)
        audit.healed += outcome.inserted + outcome.updated
        rejected += [r.record_id for r in batch.rejects if r.record_id is not None]
    work.report.rows_healed += audit.healed
    if not rejected:
        return ""
    return f"{len(rejected)} records are dead letters: {_some(rejected)}"


def _retire(
    work: Work, audit: Audit, difference: Difference, guard: Guard, counted: int | None
) -> str:
    """Deletes what is gone, confirmed by a second question: why not, in words, if it did not."""
    gone = difference.extra
    if gone:
        still = work.reader.present(gone)
        gone = [own for own in gone if own not in still]
    why = "" if guard.lifted else _objection(work, difference, gone, guard, counted)
    if why:
        work.hold.ledger.quarantine(gone, why)
        return (
            f"{len(gone)} rows are no longer listed and were kept, because {why}: {_some(gone)}."
            " If they are really gone, `reconcile --apply-deletes` deletes them"
        )
    work.hold.ledger.quarantine([], "")
    audit.deleted = work.hold.delete(gone)
    work.report.rows_deleted += audit.deleted
    return ""


def _objection(
    work: Work, difference: Difference, gone: Sequence[int], guard: Guard, counted: int | None
) -> str:
    """Why nothing may be deleted; empty if it may."""
    if not gone:
        return ""
    if guard.withheld:
        return guard.withheld
    if difference.source_rows == 0:
        return "the list suddenly answers empty"
    if counted is not None and counted != difference.source_rows:
        again = _count(work)
        low, high = sorted((counted, counted if again is None else again))
        if not low <= difference.source_rows <= high:
            return f"/count says {counted} and the sweep saw {difference.source_rows}"
    if len(gone) > allowance(work, difference.warehouse_rows):
        return (
            f"{len(gone)} of {difference.warehouse_rows} is more than CW_MAX_DELETE_FRACTION"
            f" ({work.limits.max_delete_fraction}): a narrowed security role looks like that"
        )
    return ""


def _some(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:_SHOWN]))
    return shown if len(ids) <= _SHOWN else f"{shown}, ..."


def keeps_window(work: Work) -> bool:
    """Whether the entity is compared by a sweep: it has stamps and takes a window."""
    filterable = work.hold.capability()["filterable"] is not False
    return work.entity.keeping is Keeping.WINDOW and filterable
