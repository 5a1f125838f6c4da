"""The sync, start to finish."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.model import Checkpoint, Entity, SyncMode, SyncResult, Window
from cw_pipeline.sync.context import in_parent_order
from cw_pipeline.sync.full import full_sync
from cw_pipeline.sync.incremental import FilterNotHonored, IncrementalSync
from cw_pipeline.sync.per_parent import PerParentSync
from cw_pipeline.sync.replay import retry_due_dead_letters
from cw_pipeline.sync.run import Run, run_entity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cw_pipeline.errors import PipelineError
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


def sync_entity(entity: Entity, context: SyncContext, plan: SyncRequest) -> SyncResult:
    """Brings one entity's table in step with its list, and accounts for it in the run table.

    Each page commits together with the cursor that covers it, so a crash anywhere resumes at the
    next page. A failure is in the result's `failure`; what was read until then is kept. Raises
    SourceDenied when the keys are refused: no other entity would fare better.
    """
    kind = "backfill" if plan.window is not None else "full" if plan.full else "refresh"
    return run_entity(context, entity, kind, lambda run: _sync(run, plan), _with_failure)


def _with_failure(result: SyncResult, failure: PipelineError) -> SyncResult:
    result.failure = failure
    return result


def _sync(run: Run, plan: SyncRequest) -> SyncResult:
    """What a sync of an entity does, in its order."""
    result, entity = run.result, run.entity
    if plan.window is None and run.store.dead_letters_are_due:
        retry_due_dead_letters(run)

    if entity.mode is SyncMode.PER_PARENT:
        assert entity.parent is not None
        PerParentSync(run, CATALOG[entity.parent]).sync(whole=plan.full)
    elif run.capability["filterable"] is False or not (
        entity.mode is SyncMode.INCREMENTAL or _is_stamped(run, plan)
    ):
        full_sync(run)
    elif plan.window is not None:
        IncrementalSync(run).backfill(plan.window, closed=plan.closed)
    else:
        watermark = run.store.checkpoint.watermark
        try:
            # A list without records is asked for all, which costs the same: only so is it seen that
            # its first ones carry no stamp, whatever is documented. No window would ever have them.
            IncrementalSync(run).refresh(whole=plan.full or run.store.shows_nothing)
        except FilterNotHonored as finding:
            log.warning("%s is read whole from now on: %s", entity.name, finding)
            result.warnings.append(f"read whole from now on: {finding}")
            run.store.save_checkpoint(Checkpoint(watermark))
            full_sync(run)
            run.learn(filterable=False)  # now that reading it whole is known to work

    has_count = entity.count and entity.mode is not SyncMode.PER_PARENT
    # A pass with nothing to do must not cost a second request but once an hour.
    is_due = result.rows_inserted or result.rows_deleted or run.store.count_is_due
    if plan.window is None and has_count and is_due:
        result.source_rows = run.count_source()
    return result


def _is_stamped(run: Run, plan: SyncRequest) -> bool:
    """Whether a list of which no `lastUpdated` is documented turned out to have it.

    It was read whole, and every record carried one. The window checks the stamps that come back,
    so a list that ignores the condition is read whole again, and for good. Not one that the catalog
    wants read whole: its records leave it, and no window shows that.
    """
    declared = CATALOG.declared.get(run.entity.name)
    may_be = not plan.full and declared is not None and declared.mode is None
    if not (may_be and run.entity.has_last_updated):
        return False
    live, stamped = run.store.count_stamps()
    return 0 < live == stamped


def sync_entities(
    entities: Iterable[Entity], context: SyncContext, plan: SyncRequest
) -> Iterator[SyncResult]:
    """The result of each entity as it finishes; a failed one has its `failure` set.

    One entity's failure leaves the others alone. Parents come before their children. Raises
    SourceDenied as soon as the keys are refused.
    """
    chosen, stopping = list(entities), context.stopping
    at_once = context.limits.concurrency
    yield from in_parent_order(
        chosen, lambda one: sync_entity(one, context, plan), at_once, stopping, context.machine
    )
