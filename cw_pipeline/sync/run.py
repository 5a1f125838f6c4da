"""One run of one entity: opened, accounted for and closed here, whatever it is for."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import (
    ENDS_THE_RUN,
    DataRefused,
    EntityBusy,
    PipelineError,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
    TooManyRejects,
    UnexpectedError,
    WarehouseError,
)
from cw_pipeline.model import SyncResult
from cw_pipeline.sync.list_reader import ListReader, PagingNotHonored
from cw_pipeline.transform import refused_record
from cw_pipeline.warehouse import MergeResult, open_store
from cw_pipeline.warehouse.status import note_clock_disorder

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cw_pipeline.model import Batch, Entity, IdRange
    from cw_pipeline.sync.context import Limits, SyncContext
    from cw_pipeline.warehouse import EntityStore


log = logging.getLogger(__name__)

R = TypeVar("R")
T = TypeVar("T")


def run_entity(
    context: SyncContext,
    entity: Entity,
    kind: str,
    work: Callable[[Run], R],
    failed: Callable[[SyncResult, PipelineError], R],
) -> R:
    """What `work` returns for the entity, or what `failed` makes of the error that ended it.

    A sync, a reconcile, a re-read, a replay and a report are opened, accounted for and closed here
    and nowhere else: under the entity's lease, with a row in `cw_sync.run` that is written however
    the run ends. What goes wrong, foreseen or not, stays with this entity: `failed` is given what
    was done until then, and an UnexpectedError for what was not foreseen. Raises SourceDenied when
    the keys are refused and SourceUnreachable when nothing answers: no other entity would fare
    better.
    """
    result = SyncResult(entity.name, kind)
    try:
        with open_store(context.database, entity, kind, context.dagster_run_id) as store:
            return _account_for(context, store, result, work)
    except ENDS_THE_RUN:
        raise
    except PipelineError as error:
        log.error("%s: %s", entity.name, error)  # noqa: TRY400 - expected and named: no trace
        return failed(result, error)
    except Exception as error:
        log.exception("%s: unexpected", entity.name)
        return failed(result, as_pipeline_error(error))


def _account_for(
    context: SyncContext, store: EntityStore, result: SyncResult, work: Callable[[Run], R]
) -> R:
    """Does the work, and writes the run's row whatever comes of it, Ctrl-C included."""
    entity, reader = store.entity, ListReader(context, store.entity, store.stored_hashes)
    result.api_version = context.source.versions.version_of(entity.name)
    reader.page_size = min(reader.page_size, store.page_size or reader.page_size)
    if store.capability["forward_only"] is False and entity.has_id:  # as it was seen to allow
        reader.paging = Paging.KEYSET
    run = Run(context, entity, reader, store, result, store.capability, context.limits)
    try:
        try:
            outcome = work(run)
        finally:
            tally = reader.tally
            result.requests, result.retries = tally.requests, tally.retries
            result.throttled_seconds, result.pages = tally.throttled_seconds, reader.pages
    except BaseException as error:
        why = str(as_pipeline_error(error)) if isinstance(error, Exception) else "interrupted"
        if _is_refused(error, run) and not store.absence:
            run.learn(readable=False)
        # What ended the run says more than that the rest cannot be written either.
        with suppress(WarehouseError, EntityBusy):
            store.close(result, why)
        raise
    if disorder := context.source.clock.take_disorder():
        with context.database.connection() as connection:
            note_clock_disorder(connection, context.database.schema, disorder)
    if run.capability["readable"] is not True and reader.tally.requests:
        run.learn(readable=True)
    store.page_size = reader.page_size if reader.page_size < run.limits.page_size else None
    store.close(result)
    return outcome


def _is_refused(error: BaseException, run: Run) -> bool:
    """Whether the list is forbidden, or is not there and never was: a 404 may pass."""
    if isinstance(error, SourceMissing):
        return run.capability["readable"] is not True
    return isinstance(error, SourceForbidden)


def as_pipeline_error(error: Exception) -> PipelineError:
    """The error itself if it is one that is raised on purpose, else one that says it was not."""
    if isinstance(error, PipelineError):
        return error
    fault = UnexpectedError(
        f"unexpected {type(error).__name__}: {error}. This is a fault of cw_pipeline: please report"
        " it with the traceback in the log"
    )
    fault.__cause__ = error
    return fault


@dataclass(slots=True, eq=False)
class Run:
    """Everything a pass needs. Safe to share between the threads of one pass."""

    context: SyncContext
    entity: Entity
    reader: ListReader
    store: EntityStore
    result: SyncResult
    capability: dict[str, bool | None]
    limits: Limits
    judged_rejects: int = 0
    _lock: Lock = field(default_factory=Lock)

    def learn(self, **seen: bool) -> None:
        """Remembers what the list was seen to do, for this run and the next ones."""
        self.store.learn(**seen)

    def load(
        self,
        batch: Batch,
        reached: IdRange | None = None,
        *,
        parent_id: int | None = None,
        alone: bool = True,
        read_after: datetime | None = None,
        judged: bool = True,
    ) -> MergeResult:
        """Loads a batch and counts it. Raises TooManyRejects when a healthy pass has fewer.

        What the warehouse refuses of it becomes a dead letter, and the rest is loaded: see
        `_load_apart`. `judged=False` is for records that were rejected before.
        """
        load = partial(
            self.load, parent_id=parent_id, alone=alone, read_after=read_after, judged=judged
        )
        try:
            outcome = self.store.load(
                batch, reached, parent_id=parent_id, alone=alone, read_after=read_after
            )
        except DataRefused as refused:
            return _load_apart(batch, reached, load, refused)
        result, limits = self.result, self.limits
        with self._lock:
            result.rows_read += batch.read
            result.rows_inserted += outcome.inserted
            result.rows_updated += outcome.updated
            result.rows_unchanged += outcome.unchanged
            result.dead_letters += len(batch.rejects)
            self.judged_rejects += len(batch.rejects) if judged else 0
            allowed = max(limits.min_rejects, limits.max_reject_fraction * result.rows_read)
        if self.judged_rejects > allowed:
            raise TooManyRejects(
                f"{self.entity.name}: {self.judged_rejects} of {result.rows_read:,} records were"
                " rejected, so the watermark stays. `dead-letters list` names the fields and why"
            )
        return outcome

    def count_source(self) -> int | None:
        """What the list's `/count` says. None, with a warning in the result, if it says nothing.

        That a list has no count is remembered, and it is not asked again.
        """
        if not self.entity.count or self.capability["count"] is False:
            return None
        try:
            return self.reader.count()
        except SourceError as error:
            if isinstance(error, SourceMissing | SourceRefused):
                self.learn(count=False)  # anything else may pass
            if (warning := f"no count: {error}") not in self.result.warnings:
                self.result.warnings.append(warning)
            return None

    def read_with_any_paging(self, read: Callable[[], T], *, offsets: bool = True) -> T:
        """What `read` gives with the first paging that the list takes, from the reader's present.

        `read` begins anew each time. That a list takes no forward-only paging is remembered.
        Offsets are the last resort: a record deleted meanwhile shifts them, so what they did not
        show counts as gone only once a second question says so. Raises what the last way raises;
        without `offsets`, that is paging by ids.
        """
        while True:
            way = self.reader.paging
            last = way not in _NEXT or (way is Paging.KEYSET and not offsets)
            try:
                return read()
            except PagingNotHonored:
                if last:
                    raise
            except SourceRefused as error:
                if last or way is not Paging.KEYSET or error.status != HTTPStatus.BAD_REQUEST:
                    raise  # only a 400 is about the condition, or the order
            if way is Paging.FORWARD:
                self.learn(forward_only=False)
            if self.reader.paging is way:  # another thread may have found out at the same time
                self.reader.paging = _NEXT[way]


def _load_apart(
    batch: Batch,
    reached: IdRange | None,
    load: Callable[[Batch, IdRange | None], MergeResult],
    refused: DataRefused,
) -> MergeResult:
    """Loads the parts of a batch that was refused as a whole, down to the record it is about.

    The cursor moves with the last part: after a crash in between, the page is read again. A page
    of nothing but such records ends with TooManyRejects, long before each has been tried.
    """
    rows = batch.with_rows
    if len(rows) > 1 or (rows and batch.rejects):
        first = rows[: max(1, len(rows) // 2)]
        return load(batch.only(first), None) + load(batch.without(first), reached)
    if rows:
        where = f"{refused.column}: " if refused.column else ""
        reject = refused_record(batch, rows[0], f"{where}{refused}")
        record_id = batch.ids[rows[0]]
        return load(batch.without(rows, reject), reached) + MergeResult(
            0, 0, 0, refused=(record_id,)
        )
    if all(reject.record is None for reject in batch.rejects):
        raise refused
    # Its dead letter does not fit either: what is known of the record is kept without it.
    bare = tuple(replace(one, record=None) for one in batch.rejects)
    return load(replace(batch, rejects=bare), reached)


_NEXT = {Paging.FORWARD: Paging.KEYSET, Paging.KEYSET: Paging.OFFSET}
