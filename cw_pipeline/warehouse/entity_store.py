"""What a run reads and writes of its entity in Postgres: one read opens it, one write closes it.

    with open_store(database, entity, kind) as store:     # the lease, then one read
        store.load(batch, reached)                        # a page and its cursor, one transaction
        store.complete_pass(checkpoint)                   # kept until then
        store.close(result)                               # one write, which gives the lease back

The statements are in `entity_store.sql`.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import EntityBusy, WarehouseError
from cw_pipeline.model import Checkpoint, ClockStep, IdRange, Window
from cw_pipeline.warehouse import dead_letters
from cw_pipeline.warehouse.history import as_stored
from cw_pipeline.warehouse.lease import PURPOSES
from cw_pipeline.warehouse.merge import MergeResult, id_array, merge, stored_hashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection, Cursor

    from cw_pipeline.model import Array, Audit, Batch, Entity, SchemaDrift, SyncResult
    from cw_pipeline.warehouse.database import Database

    _Table = Entity | Array | None


def _named_statements(path: Path) -> dict[str, str]:
    """The statements of a file, by the name that stands before each. `{name}` is another one."""
    parts = re.split(r"^-- name: (\w+)\n", path.read_text("utf-8"), flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    used = re.compile(r"\{(\w+)\}")
    return {k: used.sub(lambda use: named.get(use[1], use[0]), v) for k, v in named.items()}


_SQL = _named_statements(Path(__file__).with_suffix(".sql"))

_ACCOUNT = (
    *("kind", "api_version", "requests", "retries", "throttled_seconds", "pages"),
    *("source_rows", "dead_letters"),
    *(f"rows_{what}" for what in ["read", "inserted", "updated", "unchanged", "deleted", "healed"]),
)
"""What of a run's result its row in `cw_sync.run` has, and the count beside it."""


@contextmanager
def open_store(
    database: Database, entity: Entity, kind: str, dagster_run_id: str | None = None
) -> Iterator[EntityStore]:
    """The entity's lease for a run of this kind, and all that the run may write.

    Until the block or this process ends, or the store is closed. Runs of another purpose (a
    backfill, a reconcile) may go on beside it. The store's entity has the columns promoted until
    now, which stay until then. Raises EntityBusy, naming who has the lease, or what
    `Database.locked` has of the entity.
    """
    if (locked := database.locked.get(entity.name)) is not None:
        raise locked
    purpose = kind if kind in PURPOSES else "pass"
    with database.leases.hold(entity.name, purpose, kind, dagster_run_id) as run_id:
        yield EntityStore(database, entity, run_id)


class EntityStore:
    """What a run may do with its entity. Made by `open_store`; reads what it has to know at first.

    As of when it was opened: `opened_at` on the warehouse's clock; the `checkpoint`; the
    `capability`, what the list was seen to do (None: not seen yet); `absence`, the answers that
    showed in the last week that it is not there, if any; `page_size`, how many records a page may
    have without timing out (None: as many as are set); `rows_before`, the live rows (None: never
    counted); `count_is_due`, whether the list's count was not asked for an hour;
    `dead_letters_are_due` to be tried again; `reread_cursor`, the last id that the rotating re-read
    has read. A new `audit` or `reread_cursor`, what `learn` and `complete_pass` are given, and a
    changed `page_size` are kept until `close` writes them.

    Whatever writes raises EntityBusy, and writes nothing, once another run has the entity's lease.
    """

    opened_at: datetime
    checkpoint: Checkpoint
    capability: dict[str, bool | None]
    absence: str | None
    page_size: int | None
    rows_before: int | None
    count_is_due: bool
    dead_letters_are_due: bool
    reread_cursor: int
    audit: Audit | None = None

    def __init__(self, database: Database, entity: Entity, run_id: int) -> None:
        self._database, self._schema = database, database.schema
        self.entity, self.run_id = entity, run_id
        self._learned: dict[str, bool | str] = {}
        self._opens_pass = self._completes_pass = self._read_all = False
        self.opened_at, watermark, watermark_at, stepped, *rest = self._ask("open")[0]
        since, until, pass_at, cursor, ranges, *rest = rest
        self.page_size, self.rows_before, self.capability, self.absence, *rest = rest
        self.count_is_due, self.open_letters, discarded, self.dead_letters_are_due, *rest = rest
        self.shows_nothing = self.rows_before == 0 and not (self.open_letters or discarded)
        self._has_candidates, self.reread_cursor, promoted, versioned = rest
        self._stored_page_size, self._stored_reread_cursor = self.page_size, self.reread_cursor
        step = None if stepped[1] is None else ClockStep(*stepped)
        self.checkpoint = Checkpoint(watermark, watermark_at=watermark_at, step=step)
        if until is not None:
            tail = IdRange(0, None, cursor or 0)
            window, others = Window(since, until, pass_at), tuple(IdRange(*r) for r in ranges)
            self.checkpoint = Checkpoint(watermark, window, tail, others, watermark_at, step)
        self.entity = as_stored(self.entity, promoted, versioned)

    def close(self, result: SyncResult, error: str | None = None) -> None:
        """Writes everything that the run leaves behind, with its account, and ends its lease.

        `error`: why it failed. Puts the table's rows into a result that has none. Raises EntityBusy
        or WarehouseError where that cannot be written; the run's account then says so, and is
        written with or without the lease.
        """
        try:
            if result.row_count is None and self.rows_before is None and error is None:
                if self._completes_pass:  # or there is nothing to keep the count in
                    self.save_checkpoint(self.checkpoint)
                self.count_rows()
            with self._database.leases.ending(self.run_id):
                rows = self._close(result, error)
            result.row_count = rows if result.row_count is None else result.row_count
        except (EntityBusy, WarehouseError) as failure:
            with suppress(WarehouseError):  # then the next run finds this one dead, and says so
                self._close(result, error or str(failure), has_lease=False)
            raise

    def _close(
        self, result: SyncResult, error: str | None, *, has_lease: bool = True
    ) -> int | None:
        reread, step = self.reread_cursor, self.checkpoint.step
        values = {name: getattr(result, name) for name in _ACCOUNT} | {
            "has_lease": has_lease,
            "status": "done" if error is None else "failed",
            "error": error,
            "completes": self._completes_pass,
            "read_all": self._read_all and self._completes_pass,
            "watermark": self.checkpoint.watermark,
            "watermark_at": self.checkpoint.watermark_at,
            "step": step and [step.since, step.until],
            "page_size": self.page_size,
            "resizes": self.page_size != self._stored_page_size,
            "learned": json.dumps(self._learned),
            "reread_cursor": reread if reread != self._stored_reread_cursor else None,
            "audit": self.audit and json.dumps(asdict(replace(self.audit, failure=None))),
        }
        rows = self._ask("close", **values)
        return rows[0][0] if rows else None

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Stores a checkpoint: a pass opened, split or given up."""
        with self._database.connection() as connection:
            self._save_checkpoint(connection, checkpoint)
        self.checkpoint = checkpoint
        self._opens_pass = self._completes_pass = False

    def open_pass(self, checkpoint: Checkpoint) -> None:
        """Has a pass stored with the first batch that moves its cursor.

        Until then there is nothing of it that could be resumed.
        """
        self.checkpoint = checkpoint
        self._opens_pass, self._completes_pass = True, False

    def complete_pass(self, checkpoint: Checkpoint, *, read_all: bool = False) -> None:
        """Has `close` store that the list was read up to the checkpoint's watermark.

        `read_all`: by this run, from its beginning, with nothing left out: dead letters of records
        without an id that it did not bring again are closed. Lists without ids are read by offset,
        which may leave a record out: there, the whole read before must not have brought it either.
        A run that is killed before has read its last window for nothing.
        """
        self.checkpoint = checkpoint
        self._opens_pass, self._completes_pass, self._read_all = False, True, read_all

    def split_range(self, halves: tuple[IdRange, IdRange]) -> None:
        """Makes two ranges of one: both, or neither. Raises EntityBusy as `load` does."""
        lower, upper = halves
        self._refuse_if_taken_over(
            self._write("split_range", after=lower.after, middle=upper.after, upto=upper.upto)
        )

    def finish_range(self, read: IdRange) -> None:
        """Forgets a closed range that has been read to its end."""
        self._write("finish_range", after=read.after)

    def _save_checkpoint(self, connection: Connection[Any], checkpoint: Checkpoint) -> None:
        window, ranges, step = checkpoint.window, checkpoint.ranges, checkpoint.step
        values = {
            "watermark": checkpoint.watermark,
            "watermark_at": checkpoint.watermark_at,
            "step": step and [step.since, step.until],
            "since": window and window.since,
            "until": window and window.until,
            "pass_at": window and window.opened_at,
            "cursor": checkpoint.tail.cursor if window else None,
            "after": [each.after for each in ranges],
            "upto": [each.upto for each in ranges],
            "reached": [each.cursor for each in ranges],
        }
        self._run(connection, "save_checkpoint", **values)

    def _refuse_if_taken_over(self, rows: int) -> None:
        if not rows:
            raise EntityBusy(f"{self.entity.name}: another run has taken this pass over")

    def load(
        self,
        batch: Batch,
        reached: IdRange | None = None,
        *,
        parent_id: int | None = None,
        alone: bool = True,
        read_after: datetime | None = None,
    ) -> MergeResult:
        """Merges a batch and moves the cursor of its range: both, or neither.

        `alone=False` lets several ranges of one pass load side by side; their ids never meet.
        Raises EntityBusy, too, if a run of another purpose has moved the pass meanwhile.
        """
        has_news = batch.rejects or batch.drift or self.open_letters  # which it may close
        if reached is None and not has_news and not any(h is not None for h in batch.hashes):
            return MergeResult(0, 0, len(batch.ids))
        with self._database.transaction() as connection:
            self._lock_merges(connection, parent_id, shared=not alone)
            merged = merge(
                connection,
                self._schema,
                self.entity,
                batch,
                parent_id=parent_id,
                read_after=read_after,
            )
            if change := merged.inserted + merged.undeleted:
                self._run(connection, "note_rows", change=change)
            # What of the batch is no row, and dead letters of what is one now.
            about = (self._schema, self.entity.name, parent_id)
            if self.open_letters:
                dead_letters.close_resolved(connection, *about, batch.ids)
            if batch.rejects:
                self.open_letters += len(batch.rejects)
                dead_letters.store(connection, *about, batch.rejects, self.run_id)
            if batch.drift:
                self._note_drift(connection, batch.drift)
            if reached is not None and self._opens_pass:
                self._save_checkpoint(connection, replace(self.checkpoint, tail=reached))
            elif reached is not None:
                name = "move_tail" if reached.upto is None else "move_range"
                moved = self._run(connection, name, cursor=reached.cursor, after=reached.after)
                self._refuse_if_taken_over(moved.rowcount)
        self._opens_pass = self._opens_pass and reached is None
        return merged

    def stored_hashes(self, ids: Sequence[int]) -> dict[int, tuple[int, datetime | None]]:
        """Hash as read and stamp of the live rows among these ids."""
        with self._database.connection() as connection:
            return stored_hashes(connection, self._schema, self.entity, ids)

    def absent_ids(self, seen: Iterable[int]) -> list[int]:
        """Ids of live rows that are not among `seen`."""
        return [row_id for (row_id,) in self._ask("absent_ids", seen=id_array(seen))]

    def soft_delete(
        self, ids: Sequence[int], parent_id: int | None = None, *, before: datetime
    ) -> int:
        """Soft-deletes rows and the rows of their arrays: how many.

        Not those written since `before`, on the warehouse's clock: another run has just read them.
        """
        if not ids:
            return 0
        name = "soft_delete" if parent_id is None else "soft_delete_of_parent"
        values = {"ids": id_array(ids), "before": before, "parent_id": parent_id}
        with self._database.transaction() as connection:
            self._lock_merges(connection, shared=False)
            deleted = self._run(connection, name, **values).rowcount
            self._delete_arrays(connection, ids)
            if deleted:
                self._run(connection, "note_rows", change=-deleted)
        return deleted

    def _delete_arrays(self, connection: Connection[Any], ids: Sequence[int]) -> None:
        for array in self.entity.arrays:
            self._run(connection, "delete_array", array, ids=id_array(ids))

    def _lock_merges(
        self, connection: Connection[Any], parent_id: int | None = None, *, shared: bool
    ) -> None:
        """Makes the transaction one of the run, as `lease.fence` does, with the locks of a merge.

        Two runs must not look a row up and then both insert it, nor a parent's children, though
        those of several are merged side by side. From then on everything is looked up by key: of a
        table without statistics, such as one that is being loaded, Postgres would else read all
        rows to find the elements of a thousand records.
        """
        keys = {f"{self._schema}/{self.entity.name}": shared}
        if parent_id is not None:
            keys[f"{self._schema}/{self.entity.name}/{parent_id}"] = False
        calls = ", ".join(
            f"pg_advisory_xact_lock{'_shared' * is_shared}(hashtextextended(%s, 1))"
            for is_shared in keys.values()
        )
        connection.execute(
            f"select cw_sync.fence(%s), set_config('enable_seqscan', 'off', true), {calls}",
            [self.run_id, *keys],
        )

    def rows_when_opened(self) -> int:
        """Live rows when the run began; if they were never counted, they are now."""
        return self.count_rows() if self.rows_before is None else self.rows_before

    def count_stamps(self) -> tuple[int, int]:
        """How many live rows there are, and how many of them tell when they were last updated."""
        ((live, stamped),) = self._ask("count_stamps")
        return live, stamped

    def row_count(self) -> int:
        """Live rows of the entity's table, as far as this program has changed them."""
        rows = self._ask("sum_rows")
        return self.count_rows() if not rows or rows[0][0] is None else int(rows[0][0])

    def count_rows(self) -> int:
        """Live rows of the entity's table, counted one by one."""
        self.rows_before = int(self._ask("count_rows")[0][0])
        return self.rows_before

    def save_source_count(self, source_rows: int, warehouse_rows: int) -> None:
        """Stores what the list's count said beside the table's, before the run ends."""
        self._write("save_source_count", source_rows=source_rows, warehouse_rows=warehouse_rows)

    def learn(self, **seen: bool) -> None:
        """Has `close` store what the list was seen to do."""
        self.capability |= seen
        self._learned |= seen

    def learn_absence(self, answers: str) -> None:
        """Has `close` store that the list is not there, so that it is left alone for a week."""
        self.learn(readable=False)
        self._learned["detail"] = answers

    def set_delete_candidates(
        self, rows: Sequence[tuple[int, int]], reason: str, *, parents: Sequence[int] | None = None
    ) -> None:
        """Lists (parent, id) of rows that the source no longer lists but the guard kept.

        Replaces what was listed before; of `parents` only, if they are given. A list without
        parents has 0 for them.
        """
        if not rows and not self._has_candidates:
            return
        self._write(
            "set_delete_candidates",
            parents=None if parents is None else id_array(parents),
            parent_ids=id_array(parent_id for parent_id, _ in rows),
            ids=id_array(row_id for _, row_id in rows),
            reason=reason,
        )
        self._has_candidates = True  # of other parents, perhaps

    def due_dead_letters(self, limit: int, *, unseen: bool) -> list[dead_letters.DeadLetter]:
        """Dead letters whose time has come; `unseen`: those that this run has not stored again."""
        with self._database.connection() as connection:
            about = connection, self._schema, self.entity.name, limit
            return dead_letters.due_dead_letters(*about, self.run_id if unseen else None)

    def close_dead_letters(self, letter_ids: Sequence[int], resolution: str) -> None:
        """Closes dead letters, with what became of the record."""
        with self._database.transaction(self.run_id) as connection:
            dead_letters.close(connection, self._schema, letter_ids, resolution)

    def postpone_dead_letters(self, letter_ids: Sequence[int]) -> None:
        """Counts a try that brought nothing new."""
        with self._database.transaction(self.run_id) as connection:
            dead_letters.postpone(connection, self._schema, letter_ids)

    def _note_drift(self, connection: Connection[Any], drift: Iterable[SchemaDrift]) -> None:
        seen = {(each.column, each.change): each.sample for each in drift}
        keys = sorted(seen)  # in one order: ranges that load side by side would wait in a circle
        columns, changes = ([key[at] for key in keys] for at in (0, 1))
        samples = [seen[key] for key in keys]
        self._run(connection, "note_drift", columns=columns, changes=changes, samples=samples)

    def parents_due(
        self, parent: Entity, max_age: timedelta, limit: int, *, whole: bool = False
    ) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], list[int], list[tuple[int, ...]]]:
        """Parents whose children must be read: those that changed, and the oldest of the rest.

        Then ids of those that are neither row nor dead letter; then the others whose children were
        read, the latest at the end. A parent is its ids as the child's path names them, outermost
        first; dead letters are among them. The second and third list hold at most `limit`, read
        longer than `max_age` ago; the second in any case one, so that the rotation never stands
        still. `whole`: the third also parents whose children were never read to the end.
        """
        rows = self._ask("due_parents", parent, age=max_age, parent=parent.name, whole=whole)
        start = 0 if parent.parent else 1  # of the path
        known = [(row[start:2], row[2], row[3]) for row in rows if row[5]]
        moved = [ids for ids, changed, _ in known if changed]
        due = [ids for ids, changed, old in known if old and not changed][:limit]
        rest = due or [ids for ids, changed, _ in known if not changed][:1]
        unknown = [each[1] for each in rows if (each[2] or each[3]) and not each[5]][:limit]
        return moved, rest, unknown, [row[start:2] for row in rows if row[4] and row[5]]

    def count_parents(self, parent: Entity) -> tuple[int, int]:
        """How many parents are stored, and how many dead letters of parents have no id."""
        ((stored, nameless),) = self._ask("count_parents", parent, parent=parent.name)
        return stored, nameless

    def parent_path(self, parent_id: int, parent: Entity) -> tuple[int, ...] | None:
        """The ids that a child's path names, outermost first; None where nothing tells them."""
        if parent.parent is None:
            return (parent_id,)
        rows = self._ask("parent_path", parent, parent_id=parent_id, parent=parent.name)
        return (rows[0][0], parent_id) if rows else None

    def announce_parents_due(self, parents: int) -> None:
        """Notes in the run's row how many parents it has to read, for whoever watches it."""
        self._write("announce_parents_due", parents=parents)

    def children_of(self, parent_id: int) -> tuple[datetime, list[int]]:
        """The warehouse's clock, and the ids of a parent's live children as of then."""
        ((at, ids),) = self._ask("children_of", parent_id=parent_id)
        return at, ids

    def mark_parent_read(self, parent_id: int, at: datetime, *, read_all: bool = False) -> None:
        """Notes when a parent's children were read, on the warehouse's clock.

        `read_all`: with nothing left out, so its dead letters are closed as in `complete_pass`.
        """
        self._write("mark_parent_read", parent_id=parent_id, at=at, read_all=read_all)

    def forget_parent(self, parent_id: int, *, before: datetime) -> None:
        """Forgets when a parent's children were read, unless that was since `before`."""
        self._write("forget_parent", parent_id=parent_id, before=before)

    def oldest_parent_read(self, parent: Entity) -> tuple[datetime | None, int]:
        """When the children that were read longest ago were read.

        Before that, children whose parent is gone are soft-deleted: how many.
        """
        ((oldest, has_orphans),) = self._ask("parents_read", parent, parent=parent.name)
        if not has_orphans:
            return oldest, 0
        deleted = self.delete_orphans(parent)
        ((oldest, _),) = self._ask("parents_read", parent, parent=parent.name)
        return oldest, deleted

    def delete_orphans(self, parent: Entity) -> int:
        """Soft-deletes children whose parent is gone: how many."""
        with self._database.transaction(self.run_id) as connection:
            rows = self._run(connection, "delete_orphans", parent, parent=parent.name)
            ids = [row_id for (row_id,) in rows]
            self._delete_arrays(connection, ids)
            if ids:
                self._run(connection, "note_rows", change=-len(ids))
            return len(ids)

    def watermark_of(self, other: Entity) -> datetime | None:
        """How complete another entity's table is; None if it was never synced."""
        rows = self._ask("watermark_of", name=other.name)
        return rows[0][0] if rows else None

    def _ask(self, statement: str, other: _Table = None, /, **values: object) -> list[Any]:
        """The rows of a statement of its own."""
        with self._database.connection() as connection:
            return self._run(connection, statement, other, **values).fetchall()

    def _write(self, statement: str, **values: object) -> int:
        """How many rows one statement wrote, which looks after the lease by itself."""
        with self._database.connection() as connection:
            return self._run(connection, statement, **values).rowcount

    def _run(
        self, connection: Connection[Any], statement: str, other: _Table = None, /, **values: object
    ) -> Cursor[Any]:
        """Runs a statement of the file. `other`: what has the other table that it is about."""
        query = sql.SQL(_SQL[statement]).format(
            schema=sql.Identifier(self._schema),
            table=sql.Identifier(self.entity.table),
            key=sql.Identifier(self.entity.key[-1]),
            other=sql.Identifier(other.table if other else ""),
            outer_id=sql.SQL("p.parent_id" if getattr(other, "parent", None) else "null::bigint"),
        )
        of_run = {"tenant": self._schema, "entity": self.entity.name, "run_id": self.run_id}
        shape = {"has_id": self.entity.has_id, "has_stamps": self.entity.has_last_updated}
        return connection.execute(query, {**of_run, **shape, **values})
