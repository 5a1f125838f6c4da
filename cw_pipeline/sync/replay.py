"""Trying dead letters again: the record is read anew and merged, or the letter waits on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceBroken, SourceForbidden, SourceMissing, SourceRefused
from cw_pipeline.sync.deletes import is_listed
from cw_pipeline.sync.list_reader import PagingNotHonored
from cw_pipeline.sync.run import Run, run_entity
from cw_pipeline.warehouse.dead_letters import open_dead_letters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse.dead_letters import DeadLetter


_DUE_AT_ONCE = 100
_PARENT_GONE = "its parent is gone at the source"


def retry_due_dead_letters(run: Run, *, unseen: bool = False) -> None:
    """Tries the dead letters whose time has come: a hundred at most, in few requests.

    `unseen`: instead those of records that this run, which has read the list, did not bring.
    """
    due = run.store.due_dead_letters(_DUE_AT_ONCE, unseen=unseen)
    try:
        retry_dead_letters(run, due)
    except (PagingNotHonored, SourceBroken, SourceMissing, SourceRefused) as error:
        # Old letters must not keep the pass from reading what is new.
        run.result.warnings.append(f"dead letters could not be tried again: {error}")
        run.store.postpone_dead_letters([letter.id for letter in due])


def retry_dead_letters(run: Run, letters: list[DeadLetter]) -> list[tuple[int, str]]:
    """Reads the letters' records again and merges what is good: what came of each letter."""
    outcomes: list[tuple[int, str]] = []
    parents = {letter.parent_id for letter in letters}
    for parent_id in sorted(parents, key=lambda parent_id: parent_id or 0):
        siblings = [letter for letter in letters if letter.parent_id == parent_id]
        path: tuple[int, ...] | None = ()
        if parent_id is not None and run.entity.parent is not None:
            path = run.store.parent_path(parent_id, CATALOG[run.entity.parent])
        if path is None:
            outcomes += _put_off(
                run, siblings, f"what {run.entity.parent} {parent_id} is below is not known yet"
            )
            continue
        try:
            outcomes += _retry_below_parent(run, path, siblings)
        except SourceMissing as error:
            if not path:
                raise
            outcomes += _settle_missing(run, path, siblings, error)
    return outcomes


def _settle_missing(
    run: Run, parents: tuple[int, ...], letters: list[DeadLetter], error: SourceMissing
) -> list[tuple[int, str]]:
    """What came of letters whose list answered 404: closed, if the parent is listed no more."""
    if _is_gone(run, parents):
        return _settle_gone(run, letters)
    return _put_off(run, letters, str(error))


def _settle_gone(run: Run, letters: list[DeadLetter]) -> list[tuple[int, str]]:
    ids = [letter.id for letter in letters]
    run.store.close_dead_letters(ids, _PARENT_GONE)
    return [(letter_id, _PARENT_GONE) for letter_id in ids]


def _put_off(run: Run, letters: list[DeadLetter], why: str) -> list[tuple[int, str]]:
    ids = [letter.id for letter in letters]
    run.result.warnings.append(f"dead letters could not be tried again: {why}")
    run.store.postpone_dead_letters(ids)
    return [(letter_id, f"failed: {why}") for letter_id in ids]


def _is_gone(run: Run, parents: tuple[int, ...]) -> bool:
    """Whether the source says that it has no such parent; not where it does not say."""
    assert run.entity.parent is not None
    try:
        return not is_listed(run, CATALOG[run.entity.parent], parents)
    except (PagingNotHonored, SourceForbidden, SourceMissing, SourceRefused):
        return False


def _retry_below_parent(
    run: Run, parents: tuple[int, ...], letters: list[DeadLetter]
) -> list[tuple[int, str]]:
    """The same for letters below one parent. A letter without an id has only its payload."""
    ids = {letter.record_id: letter for letter in letters if letter.record_id is not None}
    parent_id = parents[-1] if parents else None
    good: set[int] = set()
    bad: set[int] = set()
    for batch in run.reader.read_ids(list(ids), parents) if ids else ():
        refused = run.load(batch, parent_id=parent_id, judged=False).refused
        good.update(record_id for record_id in batch.ids if record_id not in refused)
        bad.update(refused)
        bad.update(reject.record_id for reject in batch.rejects if reject.record_id is not None)
    gone = [
        letter.id
        for record_id, letter in ids.items()
        if record_id not in good and record_id not in bad
    ]
    run.store.close_dead_letters(gone, "the source no longer has the record")
    nameless = [letter for letter in letters if letter.record_id is None]
    if nameless and parents and _is_gone(run, parents):
        outcomes = _settle_gone(run, nameless)
    else:
        outcomes = [_from_payload(run, letter) for letter in nameless]
    return [
        *((letter.id, _outcome(letter, good, bad)) for letter in ids.values()),
        *outcomes,
    ]


def _outcome(letter: DeadLetter, good: set[int], bad: set[int]) -> str:
    if letter.record_id in good:
        return "loaded"
    if letter.record_id in bad:
        return "rejected again"
    return "gone at the source"


def _from_payload(run: Run, letter: DeadLetter) -> tuple[int, str]:
    """Decodes a kept payload again, which helps when the catalog has learned since."""
    batch = run.reader.batch_of(f"[{letter.payload or '{}'}]".encode(), letter.parent_id)
    if batch.rejects or run.load(batch, parent_id=letter.parent_id, judged=False).refused:
        run.store.postpone_dead_letters([letter.id])
        return letter.id, "rejected again"
    run.store.close_dead_letters([letter.id], "its payload was loaded")
    return letter.id, "loaded"


def replay(context: SyncContext, ids: Sequence[int] | None) -> Iterator[tuple[int, str]]:
    """Tries open dead letters again, all of them without `ids`: each id with what came of it.

    Raises SourceDenied when the keys are refused. Another failure is the outcome.
    """
    with context.database.connection() as connection:
        letters = open_dead_letters(connection, context.database.schema)
    chosen = [letter for letter in letters if ids is None or letter.id in ids]
    known = {letter.id for letter in chosen}
    yield from ((letter_id, "not open") for letter_id in ids or () if letter_id not in known)
    for name in sorted({letter.entity for letter in chosen}):
        yield from _replay_entity(
            context, name, [letter for letter in chosen if letter.entity == name]
        )


def _replay_entity(
    context: SyncContext, name: str, letters: list[DeadLetter]
) -> Iterator[tuple[int, str]]:
    entity = CATALOG.get(name)
    if entity is None:
        yield from ((letter.id, f"{name} is no longer in the catalog") for letter in letters)
        return
    yield from run_entity(
        context,
        entity,
        "replay",
        lambda run: retry_dead_letters(run, letters),
        lambda _, failure: [(letter.id, f"failed: {failure}") for letter in letters],
    )
