"""Trying dead letters again: the record is read anew and merged, or the letter waits on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import EntityBusy, PipelineError, SourceDenied
from cw_pipeline.model import SyncResult
from cw_pipeline.sync.dead_letters import retry_dead_letters
from cw_pipeline.sync.run import Run
from cw_pipeline.warehouse.dead_letters import open_dead_letters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse.dead_letters import DeadLetter


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
        with engine.warehouse.hold(entity, "replay", engine.dagster_run_id) as hold:
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
