"""Deleting rows the source no longer lists: asked for twice, and never against the guard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.connectwise import Paging
from cw_pipeline.errors import SourceMissing, SourceRefused
from cw_pipeline.model import LAST_UPDATED
from cw_pipeline.sync.list_reader import ListReader, PageWalk, PagingNotHonored
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cw_pipeline.model import Entity
    from cw_pipeline.sync.run import Run

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class DeleteGuard:
    """What keeps a pass from deleting: `withheld` says why. `lifted` by the operator, once."""

    withheld: str = ""
    lifted: bool = False

    def reason_to_keep(self, run: Run, gone: int, listed: int, live: int) -> str:
        """Why `gone` of `live` rows may not be deleted after a list of `listed`; empty if so."""
        if self.lifted or not gone:
            return ""
        if self.withheld:
            return self.withheld
        if listed == 0:
            return "the list suddenly answers empty"
        if gone > self.allowance(run, live):
            return (
                f"{gone} of {live} is more than CW_MAX_DELETE_FRACTION"
                f" ({run.limits.max_delete_fraction}): a narrowed security role looks like that"
            )
        return ""

    def allowance(self, run: Run, live: int) -> int:
        """How many of `live` rows may go at once.

        The fraction, but always one, or short lists never shrink.
        """
        if self.lifted:
            return live
        if self.withheld:
            return 0
        return max(1, int(live * run.limits.max_delete_fraction))


def not_listed_twice(run: Run, gone: Sequence[int]) -> list[int]:
    """Those of the rows that a second question does not find either."""
    if not gone or not run.entity.has_id:
        return list(gone)
    still = run.reader.ids_still_listed(gone)
    return [row_id for row_id in gone if row_id not in still]


def is_listed(run: Run, entity: Entity, path: tuple[int, ...]) -> bool:
    """Whether the source lists a record: `path` is the ids of its parents and its own, at the end.

    Raises what `which_are_listed` does.
    """
    *above, record_id = path
    return bool(which_are_listed(run, entity, [record_id], tuple(above)))


def which_are_listed(
    run: Run, entity: Entity, ids: Sequence[int], above: tuple[int, ...] = ()
) -> set[int]:
    """Which of these records the source lists: of another entity than the run's, below `above`.

    What is below a parent that is not listed is not listed either. Raises SourceMissing where
    parents are listed, and the list below them answers 404.
    """
    reader = ListReader(run.context, entity)
    reader.tally = run.reader.tally
    try:
        return reader.ids_still_listed(ids, above)
    except SourceMissing:
        if entity.parent is None or is_listed(run, CATALOG[entity.parent], above):
            raise
        return set()


def find_paths(
    run: Run, entity: Entity, ids: Sequence[int], above: tuple[int, ...] | None
) -> set[tuple[int, ...]]:
    """The paths of those of these records that the source lists, below `above`.

    None: what they are below is not known, so it is asked below each record that the list above
    shows. Raises what `which_are_listed` does.
    """
    if above is not None:
        return {(*above, found) for found in which_are_listed(run, entity, ids, above)}
    assert entity.parent is not None, "what is below nothing has a known path"
    tops = listed_ids(run, CATALOG[entity.parent])
    if tops is None:
        raise PagingNotHonored(f"{entity.parent} does not say which records it has")
    return {path for top in sorted(tops) for path in find_paths(run, entity, ids, (top,))}


def listed_ids(run: Run, entity: Entity, path: tuple[int, ...] = ()) -> set[int] | None:
    """The ids of the records that a list shows now; None if it cannot be read by ids."""
    slim = ListReader(run.context, id_only_entity(entity))
    slim.tally = run.reader.tally
    for slim.paging in (Paging.FORWARD, Paging.KEYSET):
        try:
            query = replace(slim.query(path), fields="id")
            walk = PageWalk(slim, query, path[-1] if path else None)
            return {record_id for batch in walk for record_id in batch.listed_ids}
        except (PagingNotHonored, SourceRefused):
            continue
    return None


def id_only_entity(entity: Entity) -> Entity:
    """The entity with nothing but id and stamp."""
    columns_kept = tuple(c for c in entity.columns if c.path in (("id",), LAST_UPDATED))
    return replace(entity, columns=columns_kept, arrays=())


def delete_or_list(run: Run, gone: Sequence[int], why: str, before: datetime) -> str:
    """Soft-deletes rows last written `before`; if there is a `why`, lists them as candidates."""
    if why:
        run.store.set_delete_candidates([(0, row_id) for row_id in gone], why)
        return explain_kept_rows(gone, why)
    run.store.set_delete_candidates([], "")
    run.result.rows_deleted += run.store.soft_delete(gone, before=before)
    return ""


def explain_kept_rows(gone: Sequence[int], why: str) -> str:
    """What to tell the operator about rows that were kept, and what to do."""
    return (
        f"{count(len(gone), 'row')} no longer listed, but kept, because {why}: {first_ids(gone)}."
        " `reconcile --list-deletes` lists them; if they are really gone,"
        " `reconcile --apply-deletes` deletes them"
    )


def first_ids(ids: Sequence[int]) -> str:
    """The first of the ids, to show."""
    shown = ", ".join(map(str, ids[:_SHOWN]))
    return shown if len(ids) <= _SHOWN else f"{shown}, ..."
