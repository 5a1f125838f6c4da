"""Deleting rows the source no longer lists: asked for twice, and never against the guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import SourceMissing
from cw_pipeline.sync.list_reader import ListReader
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
