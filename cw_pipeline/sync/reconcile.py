"""The proof, start to finish: is the warehouse what ConnectWise holds, and if not, make it so."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import PipelineError, SourceDenied, SourceError, SourceForbidden
from cw_pipeline.model import Audit, Entity, SyncMode, SyncResult
from cw_pipeline.sync.deletes import DeleteGuard
from cw_pipeline.sync.list_reader import ListReader
from cw_pipeline.sync.reconcile_ways import (
    keeps_window,
    reconcile_by_full_read,
    reconcile_by_sweep,
    reconcile_per_parent,
    reread,
)
from cw_pipeline.sync.run import Run
from cw_pipeline.sync.scheduler import in_parent_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cw_pipeline.sync.context import SyncContext

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
        with engine.warehouse.hold(entity, kind, engine.dagster_run_id) as hold:
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
        return engine.warehouse.was_readable(entity)
    except SourceDenied:
        raise
    except SourceError:
        return False  # its own reconcile will say what is wrong
    return False
