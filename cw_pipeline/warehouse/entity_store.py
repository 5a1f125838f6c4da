"""What a run reads and writes of its entity in Postgres."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import EntityBusy
from cw_pipeline.model import Column, Kind
from cw_pipeline.warehouse import dead_letters, state
from cw_pipeline.warehouse.lease import purpose_of
from cw_pipeline.warehouse.merge import MergeResult, copy, lock_for_merge, merge, stored_hashes
from cw_pipeline.warehouse.promotions import entities_with_promotions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection

    from cw_pipeline.model import Audit, Batch, Checkpoint, Entity, IdRange, SyncResult
    from cw_pipeline.warehouse.database import Database


@contextmanager
def open_store(
    database: Database, entity: Entity, kind: str, dagster_run_id: str | None = None
) -> Iterator[EntityStore]:
    """The entity's lease for a run of this kind, and all that the run may write.

    Until the block or this process ends. Runs of another purpose (a backfill, a reconcile) may go
    on beside it. The store's entity has the columns promoted until now, which stay until the block
    ends. Raises EntityBusy, naming who has the lease, or what `Database.locked` has of the entity.
    """
    if (locked := database.locked.get(entity.name)) is not None:
        raise locked
    lease = database.leases.hold(entity.name, purpose_of(kind), kind, dagster_run_id)
    with lease as run_id:
        with database.connection() as connection:
            (promoted,) = entities_with_promotions(connection, database.tenant, [entity])
        yield EntityStore(database, promoted, run_id)


class EntityStore:
    """What a run may do with its entity. Made by `open_store`.

    Whatever writes raises EntityBusy, and writes nothing, once another run has the entity's lease.
    """

    def __init__(self, database: Database, entity: Entity, run_id: int) -> None:
        self._database = database
        self._tenant = database.tenant
        self.entity = entity
        self.run_id = run_id

    def checkpoint(self) -> Checkpoint:
        """How far the entity has come."""
        with self._database.connection() as connection:
            return state.read_checkpoint(connection, self._tenant, self.entity.name)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Stores a checkpoint: a pass opened, split or completed."""
        with self._database.transaction() as connection:
            state.write_checkpoint(
                connection, self._tenant, self.entity.name, checkpoint, self.run_id
            )

    def capability(self) -> dict[str, bool | None]:
        """What the list was seen to do."""
        with self._database.connection() as connection:
            return state.capability(connection, self._tenant, self.entity.name)

    def learn(self, **seen: bool | None) -> None:
        """Stores what the list was seen to do."""
        with self._database.transaction(self.run_id) as connection:
            state.store_capability(connection, self._tenant, self.entity.name, **seen)

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
        with self._database.transaction() as connection:
            self._lock_merges(connection, parent_id, shared=not alone)
            outcome = merge(
                connection,
                self._tenant,
                self.entity,
                batch,
                parent_id=parent_id,
                read_after=read_after,
            )
            state.add_row_change(connection, self._tenant, self.entity, outcome.row_change)
            self._keep_account(connection, batch, parent_id)
            if reached is not None:
                self._move(connection, reached)
        return outcome

    def stored_hashes(self, ids: Sequence[int]) -> dict[int, tuple[int, datetime | None]]:
        """Hash as read and stamp of the live rows among these ids."""
        with self._database.connection() as connection:
            return stored_hashes(connection, self._tenant, self.entity, ids)

    def split_range(self, halves: tuple[IdRange, IdRange]) -> None:
        """Makes two ranges of one: both, or neither. Raises EntityBusy as `load` does."""
        with self._database.transaction(self.run_id) as connection:
            name = self.entity.name
            self._refuse_if_taken_over(
                state.split(connection, self._tenant, name, halves, self.run_id)
            )

    def finish_range(self, read: IdRange) -> None:
        """Forgets a closed range that has been read to its end."""
        with self._database.transaction(self.run_id) as connection:
            state.finish(connection, self._tenant, self.entity.name, read)

    def absent_ids(self, seen: Iterable[int]) -> list[int]:
        """Ids of live rows that are not among `seen`."""
        with self._database.transaction() as connection:
            connection.execute("create temp table seen (id bigint) on commit drop")
            copy(
                connection,
                "pg_temp",
                "seen",
                [Column("id", (), Kind.BIGINT)],
                ((own,) for own in seen),
            )
            query = sql.SQL(
                "select {key} from {table} where _deleted_at is null"
                " and not exists (select from seen where seen.id = {table}.{key}) order by 1"
            ).format(key=sql.Identifier(self.entity.key[-1]), table=self._table)
            return [row[0] for row in connection.execute(query)]

    def soft_delete(
        self, ids: Sequence[int], parent_id: int | None = None, *, before: datetime
    ) -> int:
        """Soft-deletes rows and the rows of their arrays: how many.

        Not those written since `before`, on the warehouse's clock: another run has just read them.
        """
        if not ids:
            return 0
        with self._database.transaction() as connection:
            self._lock_merges(connection, shared=False)
            gone = connection.execute(
                sql.SQL(
                    "update {} set _deleted_at = now(), _synced_at = now()"
                    " where {} = any(%s) and {} and _deleted_at is null"
                    " and _synced_at < %s"
                ).format(self._table, sql.Identifier(self.entity.key[-1]), _of_parent(parent_id)),
                [list(ids), before],
            ).rowcount
            self._delete_arrays(connection, ids)
            state.add_row_change(connection, self._tenant, self.entity, -gone)
        return gone

    def _delete_arrays(self, connection: Connection[Any], ids: Sequence[int]) -> None:
        """Not those of a child that lives on below another parent."""
        for array in self.entity.arrays:
            connection.execute(
                sql.SQL(
                    "update {} a set _deleted_at = now()"
                    " where parent_id = any(%s) and _deleted_at is null and not exists"
                    " (select from {} t where t.{} = a.parent_id and t._deleted_at is null)"
                ).format(
                    sql.Identifier(self._tenant, array.table),
                    self._table,
                    sql.Identifier(self.entity.key[-1]),
                ),
                [list(ids)],
            )

    def delete_orphans(self, parent: Entity) -> int:
        """Soft-deletes children whose parent is gone: how many."""
        with self._database.transaction(self.run_id) as connection:
            above = sql.Identifier(self._tenant, parent.table)
            # Forgotten, or the entity would seem as old as the last time they were read.
            connection.execute(
                sql.SQL(
                    "delete from cw_sync.parent_read r using {} p where r.tenant = %s"
                    " and r.entity = %s and r.parent_id = p.id and p._deleted_at is not null"
                ).format(above),
                [self._tenant, self.entity.name],
            )
            query = sql.SQL(
                "update {child} c set _deleted_at = now(), _synced_at = now() from {parent} p"
                " where p.id = c.parent_id and p._deleted_at is not null and c._deleted_at is null"
                " returning c.{key}"
            ).format(child=self._table, parent=above, key=sql.Identifier(self.entity.key[-1]))
            gone = [row[0] for row in connection.execute(query)]
            self._delete_arrays(connection, gone)
            state.add_row_change(connection, self._tenant, self.entity, -len(gone))
            return len(gone)

    def warehouse_now(self) -> datetime:
        """The warehouse's clock."""
        with self._database.connection() as connection:
            row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        at: datetime = row[0]
        return at

    def note_clock_disorder(self, detail: str) -> None:
        """Stores that clocks disagree. With or without the lease: it is no entity's."""
        with self._database.transaction() as connection:
            state.note_clock_disorder(connection, self._tenant, detail)

    def all_stamped(self) -> bool:
        """Whether there are live rows, and each tells when it was last updated."""
        query = sql.SQL(
            "select count(*) > 0 and count(*) = count(last_updated) from {}"
            " where _deleted_at is null"
        ).format(self._table)
        with self._database.connection() as connection:
            row = connection.execute(query).fetchone()
        return row == (True,)

    def row_count(self) -> int:
        """Live rows of the entity's table, as far as this program has changed them."""
        with self._database.connection() as connection:
            return state.row_count(connection, self._tenant, self.entity)

    def count_rows(self) -> int:
        """Live rows of the entity's table, counted one by one."""
        with self._database.connection() as connection:
            return state.count(connection, self._tenant, self.entity)

    def due_dead_letters(self, limit: int) -> list[dead_letters.DeadLetter]:
        """Dead letters whose time to be tried again has come."""
        with self._database.connection() as connection:
            return dead_letters.due_dead_letters(connection, self._tenant, self.entity.name, limit)

    def close_dead_letters(self, letter_ids: Sequence[int], resolution: str) -> None:
        """Closes dead letters, with what became of the record."""
        with self._database.transaction(self.run_id) as connection:
            dead_letters.close(connection, self._tenant, letter_ids, resolution)

    def postpone_dead_letters(self, letter_ids: Sequence[int]) -> None:
        """Counts a try that brought nothing new."""
        with self._database.transaction(self.run_id) as connection:
            dead_letters.postpone(connection, self._tenant, letter_ids)

    def page_size(self) -> int | None:
        """How many records a page may have without timing out; None: as many as are set."""
        return self._number(
            "select page_size from cw_sync.checkpoint"
            " where tenant = %(tenant)s and entity = %(entity)s"
        )

    def save_page_size(self, size: int | None) -> None:
        """Stores that, for the next pass."""
        self._write(
            "update cw_sync.checkpoint set page_size = %(size)s from cw_sync.fence(%(run_id)s)"
            " where tenant = %(tenant)s and entity = %(entity)s",
            size=size,
        )

    def count_is_due(self, age: timedelta) -> bool:
        """Whether the list's count was last asked longer than `age` ago."""
        return not self._number(
            "select 1 from cw_sync.source_count where at > now() - %(age)s"
            " and tenant = %(tenant)s and entity = %(entity)s",
            age=age,
        )

    def save_source_count(self, source_rows: int, warehouse_rows: int) -> None:
        """Stores what the list's count said beside the table's."""
        self._write(
            "insert into cw_sync.source_count (tenant, entity, source_rows, warehouse_rows)"
            " select %(tenant)s, %(entity)s, %(source_rows)s, %(warehouse_rows)s"
            " from cw_sync.fence(%(run_id)s) on conflict (tenant, entity) do update set at = now(),"
            " source_rows = excluded.source_rows, warehouse_rows = excluded.warehouse_rows",
            source_rows=source_rows,
            warehouse_rows=warehouse_rows,
        )

    def set_delete_candidates(
        self,
        rows: Sequence[tuple[int, int]],
        reason: str,
        *,
        parents: Sequence[int] | None = None,
    ) -> None:
        """Lists (parent, id) of rows that the source no longer lists but the guard kept.

        Replaces what was listed before; of `parents` only, if they are given. A list without
        parents has 0 for them.
        """
        with self._database.transaction(self.run_id) as connection:
            connection.execute(
                "delete from cw_sync.delete_candidate where tenant = %s and entity = %s"
                " and (%s::bigint[] is null or parent_id = any(%s))",
                [self._tenant, self.entity.name, parents, parents],
            )
            connection.execute(
                "insert into cw_sync.delete_candidate"
                " (tenant, entity, parent_id, record_id, reason)"
                " select %s, %s, row.*, %s from unnest(%s::bigint[], %s::bigint[]) as row",
                [
                    *(self._tenant, self.entity.name, reason),
                    [own for own, _ in rows],
                    [own for _, own in rows],
                ],
            )

    def reread_cursor(self) -> int:
        """The last id that the rotating re-read has read."""
        found = self._number(
            "select cursor from cw_sync.reread where tenant = %(tenant)s and entity = %(entity)s"
        )
        return found or 0

    def save_reread_cursor(self, cursor: int) -> None:
        """Stores how far the rotating re-read has come; 0 to begin anew."""
        self._write(
            "insert into cw_sync.reread (tenant, entity, cursor)"
            " select %(tenant)s, %(entity)s, %(cursor)s from cw_sync.fence(%(run_id)s)"
            " on conflict (tenant, entity) do update set cursor = excluded.cursor,"
            " updated_at = now()",
            cursor=cursor,
        )

    def write_audit(self, audit: Audit) -> None:
        """Adds an audit to the history of them."""
        self._write(
            "insert into cw_sync.audit (tenant, entity, kind, source_rows, warehouse_rows, missing,"
            " stale, extra, healed, deleted, drift, proven, detail)"
            " select %(tenant)s, %(entity)s, %(kind)s, %(source_rows)s, %(warehouse_rows)s,"
            " %(missing)s, %(stale)s, %(extra)s, %(healed)s, %(deleted)s, %(drift)s, %(proven)s,"
            " %(detail)s from cw_sync.fence(%(run_id)s)",
            kind=audit.kind,
            source_rows=audit.source_rows,
            warehouse_rows=audit.warehouse_rows,
            missing=audit.missing,
            stale=audit.stale,
            extra=audit.extra,
            healed=audit.healed,
            deleted=audit.deleted,
            drift=audit.drift,
            proven=audit.proven,
            detail=audit.detail,
        )

    def parent_path(self, parent_id: int, parent: Entity) -> tuple[int, ...]:
        """The ids that a child's path names, outermost first."""
        if parent.parent is None:
            return (parent_id,)
        query = sql.SQL("select parent_id from {} where id = %s").format(
            sql.Identifier(self._tenant, parent.table)
        )
        with self._database.connection() as connection:
            row = connection.execute(query, [parent_id]).fetchone()
        return (row[0], parent_id) if row else (parent_id,)

    def parents_due(
        self, parent: Entity, max_age: timedelta, limit: int
    ) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Parents whose children must be read: those that changed, and the oldest of the rest.

        The second list holds at most `limit` whose children were last read longer than `max_age`
        ago, and in any case the oldest one, so that the rotation never stands still. A parent is
        its ids as the child's path names them, outermost first.
        """
        outer = sql.SQL("p.parent_id" if parent.parent else "null::bigint")
        query = sql.SQL(
            "select {outer}, p.id, r.read_at is null or p._synced_at >= r.read_at,"
            " r.read_at < clock_timestamp() - %(age)s"
            " from {parent} p left join cw_sync.parent_read r"
            " on r.tenant = %(tenant)s and r.entity = %(entity)s and r.parent_id = p.id"
            " where p._deleted_at is null order by r.read_at nulls first, p.id"
        ).format(outer=outer, parent=sql.Identifier(self._tenant, parent.table))
        asked = {"age": max_age, "tenant": self._tenant, "entity": self.entity.name}
        with self._database.connection() as connection:
            rows = connection.execute(query, asked).fetchall()
        parents = [
            (tuple(own for own in (outermost, inner) if own is not None), changed, old)
            for outermost, inner, changed, old in rows
        ]
        moved = [own for own, changed, _ in parents if changed]
        due = [own for own, changed, old in parents if old and not changed][:limit]
        return moved, due or [own for own, changed, _ in parents if not changed][:1]

    def announce_parents_due(self, parents: int) -> None:
        """Notes in the run's row how many parents it has to read, for whoever watches it."""
        with self._database.connection() as connection:
            connection.execute(
                "update cw_sync.run set parents_due = %s where run_id = %s", [parents, self.run_id]
            )

    def children_of(self, parent_id: int) -> tuple[datetime, list[int]]:
        """The warehouse's clock, and the ids of a parent's live children as of then."""
        query = sql.SQL(
            "select clock_timestamp(),"
            " array(select {} from {} where parent_id = %s and _deleted_at is null)"
        ).format(
            sql.Identifier(self.entity.key[-1]), sql.Identifier(self._tenant, self.entity.table)
        )
        with self._database.connection() as connection:
            row = connection.execute(query, [parent_id], binary=True).fetchone()
        assert row is not None
        return row[0], row[1]

    def mark_parent_read(self, parent_id: int, at: datetime) -> None:
        """Notes that a parent's children, as they were `at` on the warehouse's clock, are in.

        Raises EntityBusy, and writes nothing, once another run has the entity's lease.
        """
        with self._database.connection() as connection:
            connection.execute(
                "insert into cw_sync.parent_read (tenant, entity, parent_id, read_at)"
                " select %s, %s, %s, %s from cw_sync.fence(%s)"
                " on conflict (tenant, entity, parent_id) do update set read_at = excluded.read_at",
                [self._tenant, self.entity.name, parent_id, at, self.run_id],
            )

    def count_parents(self, parent: Entity) -> int:
        """How many parents there are."""
        with self._database.connection() as connection:
            return state.row_count(connection, self._tenant, parent)

    def watermark_of(self, parent: Entity) -> datetime | None:
        """How complete another entity's table is; None if it was never synced."""
        with self._database.connection() as connection:
            return state.read_checkpoint(connection, self._tenant, parent.name).watermark

    def oldest_parent_read(self) -> datetime | None:
        """When the children that were read longest ago were read."""
        with self._database.connection() as connection:
            return state.oldest_parent_read(connection, self._tenant, self.entity.name)

    def finish(self, report: SyncResult, status: str, error: str | None) -> None:
        """Writes the run's row: `status` is done or failed.

        With or without the lease: it is the run's own account, which nobody else goes by.
        """
        with self._database.connection() as connection:
            state.finish_run(connection, self.run_id, report, status, error)

    def _write(self, query: str, **values: object) -> None:
        """Writes by one statement that calls `fence` itself: it needs no transaction around it."""
        with self._database.connection() as connection:
            connection.execute(query.encode(), self._parameters(values))

    def _number(self, query: str, **values: object) -> int | None:
        with self._database.connection() as connection:
            row = connection.execute(query.encode(), self._parameters(values)).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _parameters(self, values: dict[str, object]) -> dict[str, object]:
        own = {"tenant": self._tenant, "entity": self.entity.name, "run_id": self.run_id}
        return own | values

    @property
    def _table(self) -> sql.Identifier:
        return sql.Identifier(self._tenant, self.entity.table)

    def _move(self, connection: Connection[Any], reached: IdRange) -> None:
        name = self.entity.name
        self._refuse_if_taken_over(
            state.move_cursor(connection, self._tenant, name, reached, self.run_id)
        )

    def _refuse_if_taken_over(self, still: bool) -> None:  # noqa: FBT001 - an answer, not an option
        if not still:
            raise EntityBusy(f"{self.entity.name}: another run has taken this pass over")

    def _lock_merges(
        self, connection: Connection[Any], parent_id: int | None = None, *, shared: bool
    ) -> None:
        """Two runs must not look a row up and then both insert it.

        Nor a parent's children, though those of several are merged side by side.
        """
        keys = {f"{self._tenant}/{self.entity.name}": shared}
        if parent_id is not None:
            keys[f"{self._tenant}/{self.entity.name}/{parent_id}"] = False
        lock_for_merge(connection, self.run_id, keys)

    def _keep_account(
        self, connection: Connection[Any], batch: Batch, parent_id: int | None
    ) -> None:
        name = self.entity.name
        if batch.rejects:
            state.store_rejects(
                connection, self._tenant, name, batch.rejects, self.run_id, parent_id
            )
        if batch.drift:
            state.note_drift(connection, self._tenant, name, batch.drift)
        state.close_resolved(connection, self._tenant, name, batch.ids, parent_id)


def _of_parent(parent_id: int | None) -> sql.Composable:
    if parent_id is None:
        return sql.SQL("true")
    return sql.SQL("parent_id = {}").format(sql.Literal(parent_id))
