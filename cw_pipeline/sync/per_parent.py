"""The pass over lists that exist only below a parent: parents that changed, and a rotation."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from cw_pipeline.errors import (
    ENDS_THE_RUN,
    SourceBroken,
    SourceDown,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceUnreachable,
)
from cw_pipeline.model import Checkpoint
from cw_pipeline.paths import cli_command
from cw_pipeline.sync.context import parallel_tasks
from cw_pipeline.sync.deletes import (
    DeleteGuard,
    explain_kept_rows,
    find_paths,
    first_ids,
    is_listed,
)
from cw_pipeline.sync.list_reader import PageWalk, PagingNotHonored
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from cw_pipeline.model import Entity
    from cw_pipeline.sync.run import Run


_GUARDED = DeleteGuard()
_FEW = 3  # parents that are there, and whose children nobody may read or knows of
_FIRST = 8  # parents that are read before any other of a list that was read before


def _absent(run: Run, answers: str) -> SourceMissing | SourceForbidden:
    """What to raise for a list that was found not to be there, by which answers."""
    error = SourceForbidden if answers.startswith("403") else SourceMissing
    return error(
        f"{run.entity.name}: {answers}: this tenant does not show the list. It is asked again a"
        f" week after that, or at once by `{cli_command('sync', run.entity.name, '--full')}`, and"
        f" once `{cli_command('check', '--deep')}` has found it",
        int(answers[:3]),
    )


@dataclass(slots=True, eq=False)
class PerParentSync:
    """Reads the children of every parent that is due, side by side."""

    run: Run
    parent: Entity
    guard: DeleteGuard = _GUARDED
    allowed: int = 0
    forbidden: int = 0
    answered: int = 0
    broken: list[tuple[int, SourceError]] = field(default_factory=list)
    kept_rows: list[tuple[int, int]] = field(default_factory=list)
    missing: list[tuple[int, ...]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def sync(
        self, *, whole: bool = False, listed: Collection[tuple[int, ...]] | None = None
    ) -> None:
        """Brings the children up to date; `whole` reads every parent's.

        So it does of parents that the source was just seen to list, whether or not they are stored.
        """
        run, limits = self.run, self.run.limits
        if run.store.absence and run.result.kind != "full":
            raise _absent(run, run.store.absence)
        share = 2**62 if whole else limits.sweep
        age = limits.children_max_age * (0 if whole else 1)
        changed, rest, unknown, read_before = run.store.parents_due(
            self.parent, age, share, whole=whole
        )
        due = changed + rest
        stored = {parents[-1] for parents in due}
        due += [path for path in listed or () if path[-1] not in stored]
        found, gone = self._look_for(unknown, listed)
        due += found
        if len(due) > 1:  # a sync with nothing to do reads one, and must not cost a statement more
            run.store.announce_parents_due(len(due))
        self.allowed = self.guard.allowance(run, run.store.rows_when_opened())
        if read_before:
            left = self._read_first(due, latest=read_before[-_FEW:])
        else:
            left = self._read_until_one_answers(due)
        self._read_all(left)
        self._settle_missing()
        self._delete_below(gone)
        oldest, orphans = run.store.oldest_parent_read(self.parent)
        run.result.rows_deleted += orphans
        if due and self.forbidden == len(due):
            raise SourceForbidden(
                f"{run.entity.name}: 403 for every parent. The API member's security role may not"
                " inquire it",
                403,
            )
        self._tell_broken(everyone=len(self.broken) == len(due))
        if self.forbidden:
            run.result.warnings.append(
                f"403 for {self.forbidden} of {count(len(due), 'parent')}: their children are not"
                " read"
            )
        self._list_kept_rows([*(parents[-1] for parents in due), *gone])
        if oldest is None and not due:
            # Where there is no parent there are no children: complete as of when that was found.
            oldest = run.store.watermark_of(self.parent)
        if oldest is not None:
            run.store.complete_pass(Checkpoint(watermark=oldest))
        run.result.watermark = oldest

    def _look_for(
        self, unknown: Sequence[int], listed: Collection[tuple[int, ...]] | None
    ) -> tuple[list[tuple[int, ...]], list[int]]:
        """Which of the parents that are neither row nor dead letter are there, and which are gone.

        Their children were read while there was a dead letter, which was closed or discarded since.
        `listed`: all that the source was just seen to list, if that is known; a parent that is not
        among them is asked for by id, too. Those of which nothing can be found out are in neither.
        """
        run, shown = self.run, {path[-1] for path in listed or ()}
        found: list[tuple[int, ...]] = []
        gone: list[int] = []
        below: dict[tuple[int, ...] | None, list[int]] = {}
        for parent_id in unknown:
            if parent_id in shown:
                continue  # it is due anyway
            path = run.store.parent_path(parent_id, self.parent)
            below.setdefault(path and path[:-1], []).append(parent_id)
        if listed is None and (lost := below.pop(None, [])):
            run.result.warnings.append(
                f"what {self.parent.name} {first_ids(lost)} belong to is not known, so their"
                " children are left as they are:"
                f" `{cli_command('reconcile', run.entity.name)}` looks for it"
            )
        for above, ids in below.items():
            try:
                there = find_paths(run, self.parent, ids, above)
            except ENDS_THE_RUN:
                raise
            except (SourceError, PagingNotHonored) as error:
                run.result.warnings.append(
                    f"whether {self.parent.name} still has {first_ids(ids)} cannot be found out, so"
                    f" their children are left as they are: {error}"
                )
                continue
            found += sorted(there)
            gone += sorted({*ids} - {path[-1] for path in there})
        return found, gone

    def _delete_below(self, gone: Sequence[int]) -> None:
        """Deletes the children of parents that are gone, as far as the guard allows."""
        opened_at = self.run.store.opened_at
        for parent_id in gone:
            _, children = self.run.store.children_of(parent_id)
            if self._delete(parent_id, children, opened_at):
                self.run.store.forget_parent(parent_id, before=opened_at)

    def _read_until_one_answers(self, due: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Reads the first parents of a list that was never read: those that are left.

        Raises SourceMissing or SourceForbidden if the first parents that are there answer 404 or
        403, few or all: then the list is not there, which is remembered, and thousands of parents
        need not be asked at each sync.
        """
        refused = 0
        for at, parents in enumerate(due, 1):
            missing, forbidden = len(self.missing), self.forbidden
            self._read(parents)
            if len(self.missing) > missing:
                refused += is_listed(self.run, self.parent, parents)
            elif self.forbidden > forbidden:
                refused += 1
            elif self.answered:
                return due[at:]
            is_last = at == len(due) and not self.broken
            if refused == _FEW or (refused and is_last):
                status = 403 if self.forbidden else 404
                answers = f"{status} for the first {refused} of {count(len(due), 'parent')}"
                self.run.store.learn_absence(answers)
                raise _absent(self.run, answers)
        return []

    def _read_first(
        self, due: list[tuple[int, ...]], latest: Sequence[tuple[int, ...]]
    ) -> list[tuple[int, ...]]:
        """Reads the first parents of a list that was read before: those that are left.

        Raises SourceMissing or SourceForbidden if nobody's list is there: none of theirs, and of
        `latest`, those that answered last, neither. The next sync asks as few.
        """
        first, left = due[:_FIRST], due[_FIRST:]
        self._read_all(first)
        refused = len(self.missing) + self.forbidden
        if not left or refused < len(first):
            return left
        missing, forbidden = [*self.missing], self.forbidden
        self._read_all(latest)
        asked = len(self.missing) + self.forbidden
        is_gone = asked == refused + len(latest)
        if is_gone and (self.forbidden or is_listed(self.run, self.parent, self.missing[-1])):
            status = 403 if self.forbidden else 404
            error = SourceForbidden if self.forbidden else SourceMissing
            raise error(
                f"{self.run.entity.name}: {status} for the {asked} of {count(len(due), 'parent')}"
                " that were asked: the list that was read before is not shown any more. The API"
                " member's security role may have shrunk; what was read is kept",
                status,
            )
        self.missing, self.forbidden = missing, forbidden  # of those that are due
        return left

    def _read_all(self, parents: Sequence[tuple[int, ...]]) -> None:
        machine = self.run.context.machine
        parallel_tasks(self._read, parents, self.run.limits.concurrency, machine)

    def _list_kept_rows(self, parents: list[int]) -> None:
        """Lists the children that were kept, in place of what was listed of these parents."""
        why = self.guard.withheld or "CW_MAX_DELETE_FRACTION allows no more"
        self.run.store.set_delete_candidates(self.kept_rows, why, parents=parents)
        if self.kept_rows:
            self.run.result.warnings.append(
                explain_kept_rows([row_id for _, row_id in self.kept_rows], why)
            )

    def _settle_missing(self) -> None:
        """Marks parents whose children answered 404 as read: they are gone.

        If no parent's list was shown and one of these still exists, the list itself is missing:
        raises SourceMissing, because a 404 never means "no children".
        """
        if not self.missing:
            return
        if not self.answered and is_listed(self.run, self.parent, self.missing[0]):
            raise SourceMissing(
                f"{self.run.entity.name}: 404 for {count(len(self.missing), 'parent')}, and no"
                " other shows it",
                404,
            )
        gone = first_ids([parents[-1] for parents in self.missing])
        self.run.result.warnings.append(f"404 for parents that went since they were read: {gone}")
        for parents in self.missing:
            self.run.store.mark_parent_read(parents[-1], self.run.store.opened_at)

    def _read(self, parents: tuple[int, ...]) -> None:
        started, before = self.run.store.children_of(parents[-1])
        try:
            seen, shows_all = self.run.read_with_any_paging(
                lambda: self._read_one(parents, started)
            )
        except SourceMissing:
            with self._lock:
                self.missing.append(parents)
            return
        except SourceForbidden:
            with self._lock:
                self.forbidden += 1
            return
        except SourceUnreachable:
            raise
        except (SourceBroken, SourceDown) as error:
            self._note_broken(parents[-1], error)
            return
        with self._lock:
            self.answered += 1
        self._delete_unlisted(parents, [row_id for row_id in before if row_id not in seen], started)
        self.run.store.mark_parent_read(parents[-1], started, read_all=shows_all)

    def _note_broken(self, parent_id: int, error: SourceError) -> None:
        """Leaves a parent out whose list cannot be read, as long as that are few.

        Raises the error where it is the list rather than a parent.
        """
        with self._lock:
            self.broken.append((parent_id, error))
            if len(self.broken) > max(_FEW, self.answered // 10):
                raise error

    def _tell_broken(self, *, everyone: bool) -> None:
        """Says whose children could not be read. Raises why if nobody's could."""
        if not self.broken:
            return
        (parent_id, error), *_ = self.broken
        if everyone:
            raise error
        ids = first_ids([parent_id for parent_id, _ in self.broken])
        self.run.result.warnings.append(
            f"the children of {self.parent.name} {ids} cannot be read and stay as they are; of"
            f" {parent_id}: {error}"
        )

    def _read_one(self, parents: tuple[int, ...], started: datetime) -> tuple[set[int], bool]:
        """What a parent's list shows, and whether that is all that it has."""
        seen: set[int] = set()
        reader, parent_id = self.run.reader, parents[-1]
        walk = PageWalk(reader, reader.query(parents), parent_id)
        for batch in walk:
            seen.update(batch.listed_ids)
            self.run.load(batch, parent_id=parent_id, alone=False, read_after=started)
        return seen, walk.shows_all

    def _delete_unlisted(self, parents: tuple[int, ...], gone: list[int], before: datetime) -> None:
        """Deletes what the parent no longer lists, if a second question says the same."""
        if not gone:
            return
        if self.run.entity.has_id:
            still = self.run.reader.ids_still_listed(gone, parents)
            gone = [row_id for row_id in gone if row_id not in still]
        self._delete(parents[-1], gone, before)

    def _delete(self, parent_id: int, children: Sequence[int], before: datetime) -> bool:
        """Deletes children last written before that; or lists them, where the guard keeps them."""
        with self._lock:
            if len(children) > self.allowed:
                self.kept_rows += [(parent_id, row_id) for row_id in children]
                return False
            self.allowed -= len(children)
        deleted = self.run.store.soft_delete(children, parent_id, before=before)
        with self._lock:
            self.run.result.rows_deleted += deleted
        return True
