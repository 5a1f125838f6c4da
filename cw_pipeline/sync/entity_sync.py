"""The sync, start to finish."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import PipelineError, SourceDenied, SourceForbidden
from cw_pipeline.model import Checkpoint, Entity, SyncMode, SyncResult, Window
from cw_pipeline.sync.full import full_sync
from cw_pipeline.sync.incremental import FilterNotHonored, IncrementalSync
from cw_pipeline.sync.per_parent import PerParentSync
from cw_pipeline.sync.replay import retry_due_dead_letters
from cw_pipeline.sync.run import Run, count_source
from cw_pipeline.sync.scheduler import in_parent_order
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cw_pipeline.sync.context import SyncContext

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What a sync is asked to do.

    Without `window` it brings entities up to date, `full` by reading everything again. With one it
    reads that window again and leaves watermarks alone; `closed`: not beyond the window's end.
    """

    full: bool = False
    window: Window | None = None
    closed: bool = False

    @property
    def kind(self) -> str:
        """The kind of the runs it makes."""
        if self.window is not None:
            return "backfill"
        return "full" if self.full else "refresh"


def sync_entity(entity: Entity, engine: SyncContext, plan: SyncRequest) -> SyncResult:
    """Brings one entity's table in step with its list, and accounts for it in the run table.

    Each page commits together with the cursor that covers it, so a crash anywhere resumes at the
    next page. A failure is in the report's `failure`; what was read until then is kept. Raises
    SourceDenied when the keys are refused: no other entity would fare better.
    """
    report = SyncResult(entity.name, plan.kind)
    try:
        with open_store(engine.warehouse, entity, plan.kind, engine.dagster_run_id) as hold:
            _accounted(Run.of(engine, hold, report), plan)
    except SourceDenied:
        raise
    except PipelineError as error:
        log.error("%s: %s", entity.name, error)  # noqa: TRY400 - expected and named: no trace
        report.failure = error
    except Exception as error:
        # A fault of ours in one entity must not take the others down; it keeps its trace.
        log.exception("%s: unexpected", entity.name)
        report.failure = error
    return report


def _accounted(work: Run, plan: SyncRequest) -> None:
    """Reads, and writes the run's row whatever comes of it."""
    status = "failed"
    why: str | None = "interrupted"
    try:
        _read(work, plan)
        work.report.row_count = work.hold.row_count()
        _remember(work)
        count_source(work)
        status, why = "done", None
    except Exception as error:
        why = str(error) or type(error).__name__
        if isinstance(error, SourceForbidden):
            work.hold.learn(readable=False)
        raise
    finally:
        work.totals(status, why)


def _remember(work: Run) -> None:
    """Stores what this run has learned of the list, for the next one."""
    if work.hold.capability()["readable"] is not True:
        work.hold.learn(readable=True)
    size = work.reader.page_size
    learned = size if size < work.limits.page_size else None
    if learned != work.hold.ledger.page_size():
        work.hold.ledger.remember_page_size(learned)


def _read(work: Run, plan: SyncRequest) -> None:
    entity, seen = work.entity, work.hold.capability()
    most = work.limits.page_size
    work.reader.page_size = min(most, work.hold.ledger.page_size() or most)
    if plan.window is None:
        retry_due_dead_letters(work)
    if seen["forward_only"] is False and entity.has_id:
        work.reader.paging = Paging.KEYSET
    if entity.mode is SyncMode.PER_PARENT:
        assert entity.parent is not None
        PerParentSync(work, CATALOG[entity.parent]).run(whole=plan.full)
    elif entity.mode is SyncMode.FULL or seen["filterable"] is False:
        full_sync(work)
    elif plan.window is not None:
        IncrementalSync(work).backfill(plan.window, closed=plan.closed)
    else:
        _refresh(work, full=plan.full)


def _refresh(work: Run, *, full: bool) -> None:
    watermark = work.hold.checkpoint().watermark
    try:
        IncrementalSync(work).refresh(whole=full)
    except FilterNotHonored as finding:
        log.warning("%s is read whole from now on: %s", work.entity.name, finding)
        work.report.warnings.append(f"read whole from now on: {finding}")
        work.hold.save_checkpoint(Checkpoint(watermark))
        full_sync(work)
        work.hold.learn(filterable=False)  # now that reading it whole is known to work


def sync_entities(
    entities: Iterable[Entity], engine: SyncContext, plan: SyncRequest
) -> Iterator[SyncResult]:
    """The report of each entity as it finishes; a failed one has its `failure` set.

    One entity's failure leaves the others alone. Parents come before their children. Raises
    SourceDenied as soon as the keys are refused.
    """
    chosen, stopping = list(entities), engine.stopping
    at_once = engine.limits.concurrency
    yield from in_parent_order(
        chosen, lambda one: sync_entity(one, engine, plan), at_once, stopping
    )
