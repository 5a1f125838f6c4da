"""Trying dead letters again: the record is read anew and merged, or the letter waits on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import (
    EntityBusy,
    PipelineError,
    SourceBroken,
    SourceDenied,
    SourceMissing,
    SourceRefused,
)
from cw_pipeline.model import SyncResult
from cw_pipeline.sync.run import Run
from cw_pipeline.warehouse import open_store
from cw_pipeline.warehouse.dead_letters import open_dead_letters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse.dead_letters import DeadLetter


_DUE_AT_ONCE = 100


def retry_due_dead_letters(work: Run) -> None:
    """Tries the dead letters whose time has come: a hundred at most, in few requests."""
    due = work.hold.ledger.due_letters(_DUE_AT_ONCE)
    if not due:
        return
    try:
        retry_dead_letters(work, due)
    except (SourceBroken, SourceMissing, SourceRefused) as error:
        # Old letters must not keep the pass from reading what is new.
        work.report.warnings.append(f"dead letters could not be tried again: {error}")
        work.hold.ledger.postpone_letters([letter.id for letter in due])


def retry_dead_letters(work: Run, letters: list[DeadLetter]) -> list[tuple[int, str]]:
    """Reads the letters' records again and merges what is good: what came of each letter."""
    outcomes: list[tuple[int, str]] = []
    parents = {letter.parent_id for letter in letters}
    for parent_id in sorted(parents, key=lambda own: own or 0):
        own = [letter for letter in letters if letter.parent_id == parent_id]
        outcomes += _retried(work, parent_id, own)
    return outcomes


def _retried(work: Run, parent_id: int | None, letters: list[DeadLetter]) -> list[tuple[int, str]]:
    """The same for letters below one parent. A letter without an id has only its payload."""
    ids = {letter.record_id: letter for letter in letters if letter.record_id is not None}
    parents: tuple[int, ...] = ()
    if parent_id is not None and work.entity.parent is not None:
        parents = work.hold.parents.path(parent_id, CATALOG[work.entity.parent])
    good: set[int] = set()
    bad: set[int] = set()
    for batch in work.reader.read_ids(list(ids), parents) if ids else ():
        work.load(batch, parent_id=parent_id, judged=False)
        good.update(batch.ids)
        bad.update(reject.record_id for reject in batch.rejects if reject.record_id is not None)
    gone = [letter.id for own, letter in ids.items() if own not in good and own not in bad]
    work.hold.ledger.close_letters(gone, "the source no longer has the record")
    return [(letter.id, _outcome(letter, good, bad)) for letter in letters if letter.record_id] + [
        _from_payload(work, letter) for letter in letters if letter.record_id is None
    ]


def _outcome(letter: DeadLetter, good: set[int], bad: set[int]) -> str:
    if letter.record_id in good:
        return "loaded"
    if letter.record_id in bad:
        return "rejected again"
    return "gone at the source"


def _from_payload(work: Run, letter: DeadLetter) -> tuple[int, str]:
    """Types a kept payload again, which helps when the catalog has learned since."""
    batch = work.reader.typed(f"[{letter.payload or '{}'}]".encode(), letter.parent_id)
    if batch.rejects:
        work.hold.ledger.postpone_letters([letter.id])
        return letter.id, "rejected again"
    work.load(batch, parent_id=letter.parent_id, judged=False)
    work.hold.ledger.close_letters([letter.id], "its payload was loaded")
    return letter.id, "loaded"


def replay(engine: SyncContext, ids: Sequence[int] | None) -> Iterator[tuple[int, str]]:
    """Tries open dead letters again, all of them without `ids`: each id with what came of it.

    Raises SourceDenied when the keys are refused. Another failure is told as the outcome.
    """
    with engine.warehouse.connection() as connection:
        letters = open_dead_letters(connection, engine.warehouse.tenant)
    chosen = [letter for letter in letters if ids is None or letter.id in ids]
    known = {letter.id for letter in chosen}
    yield from ((own, "not open") for own in ids or () if own not in known)
    for name in sorted({letter.entity for letter in chosen}):
        yield from _replayed(engine, name, [letter for letter in chosen if letter.entity == name])


def _replayed(
    engine: SyncContext, name: str, letters: list[DeadLetter]
) -> Iterator[tuple[int, str]]:
    entity = CATALOG.get(name)
    if entity is None:
        yield from ((letter.id, f"{name} is no longer in the catalog") for letter in letters)
        return
    try:
        with open_store(engine.warehouse, entity, "replay", engine.dagster_run_id) as hold:
            report = SyncResult(name, "replay")
            work = Run.of(engine, hold, report)
            status, why = "failed", "interrupted"
            try:
                outcomes = retry_dead_letters(work, letters)
                report.row_count = work.hold.row_count()
                status, why = "done", ""
            finally:
                work.totals(status, why or None)
    except SourceDenied:
        raise
    except (EntityBusy, PipelineError) as error:
        yield from ((letter.id, f"failed: {error}") for letter in letters)
        return
    yield from outcomes
