"""The proof, start to finish: is the warehouse what ConnectWise holds, and if not, make it so."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import PipelineError, SourceDenied, SourceError, SourceForbidden
from cw_pipeline.model import Audit, Entity, SyncMode, SyncResult
from cw_pipeline.sync.deletes import Guard
from cw_pipeline.sync.list_reader import Reader
from cw_pipeline.sync.reconcile_ways import (
    keeps_window,
    reconcile_children,
    reconcile_snapshot,
    reconcile_window,
    reread,
)
from cw_pipeline.sync.run import Work
from cw_pipeline.sync.scheduler import parents_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cw_pipeline.sync.context import Engine

log = logging.getLogger(__name__)


def reconcile_all(
    entities: Iterable[Entity], engine: Engine, *, apply_deletes: bool = False
) -> Iterator[Audit]:
    """The audit of each entity as it finishes; a failed one has its `failure` set.

    Deletes nothing anywhere when the API member may no longer read what it could read before.
    `apply_deletes` lifts the guard for this once. Raises SourceDenied when the keys are refused.
    """
    chosen = list(entities)
    guard = Guard(withheld=_shrunk(chosen, engine), lifted=apply_deletes)
    yield from _each(chosen, engine, "reconcile", lambda work: _reconciled(work, guard))


def reread_all(
    entities: Iterable[Entity], engine: Engine, *, nights: int | None = None
) -> Iterator[Audit]:
    """The re-read of the next slice of each entity that has stamps: its audit, with the drift.

    A slice is a `nights`-th of the list; of as many as CW_REREAD_NIGHTS says, if not given.
    """
    stamped = [entity for entity in entities if entity.mode is SyncMode.INCREMENTAL]
    slices = nights or engine.limits.reread_nights
    yield from _each(stamped, engine, "reread", lambda work: reread(work, slices))


def _reconciled(work: Work, guard: Guard) -> Audit:
    if work.entity.parent is not None:
        return reconcile_children(work, CATALOG[work.entity.parent], guard)
    if not keeps_window(work):
        return reconcile_snapshot(work, guard)
    return reconcile_window(work, guard)


def _each(
    entities: list[Entity], engine: Engine, kind: str, examine: Callable[[Work], Audit]
) -> Iterator[Audit]:
    workers = max(1, engine.limits.concurrency // 2)
    # Children follow parents that this run deletes.
    yield from parents_first(
        entities, lambda one: _examined(one, engine, kind, examine), workers, engine.stopping
    )


def _examined(entity: Entity, engine: Engine, kind: str, examine: Callable[[Work], Audit]) -> Audit:
    report = SyncResult(entity.name, kind)
    try:
        with engine.warehouse.hold(entity, kind, engine.dagster_run_id) as hold:
            work = Work.of(engine, hold, report)
            if hold.capability()["forward_only"] is False and entity.has_id:
                work.reader.paging = Paging.KEYSET
            return _accounted(work, examine)
    except SourceDenied:
        raise
    except PipelineError as error:
        log.error("%s: %s", entity.name, error)  # noqa: TRY400 - expected and named: no trace
        return Audit(entity.name, kind, detail=str(error), failure=error)


def _accounted(work: Work, examine: Callable[[Work], Audit]) -> Audit:
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
        work.settle(status, why)
    return audit


def _shrunk(entities: list[Entity], engine: Engine) -> str:
    """Which lists the role may no longer read, in words; empty if it may read as much as before.

    One small question per list: a role that lost a list may well have lost rows of others.
    """
    lost = [entity.name for entity in entities if entity.parent is None and _lost(entity, engine)]
    if not lost:
        return ""
    return (
        f"the API member may no longer read {', '.join(lost)}: its security role has shrunk (what"
        " it shall not read any more, take out of CW_ENTITIES)"
    )


def _lost(entity: Entity, engine: Engine) -> bool:
    reader = Reader(engine, entity)
    try:
        reader.ask(replace(reader.query(), page_size=1))
    except SourceForbidden:
        return engine.warehouse.was_readable(entity)
    except SourceDenied:
        raise
    except SourceError:
        return False  # its own reconcile will say what is wrong
    return False
