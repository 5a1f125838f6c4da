"""Which parents an entity's children are to be read for, and when they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from cw_pipeline.warehouse import state

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from cw_pipeline.model import Entity
    from cw_pipeline.warehouse.warehouse import Warehouse


class Parents:
    """What one entity's children pass asks of the warehouse. Made by `EntityStore`."""

    def __init__(self, warehouse: Warehouse, entity: Entity, run_id: int) -> None:
        self._warehouse = warehouse
        self._tenant = warehouse.tenant
        self._entity = entity
        self._run_id = run_id

    def path(self, parent_id: int, parent: Entity) -> tuple[int, ...]:
        """The ids that a child's path names, outermost first."""
        if parent.parent is None:
            return (parent_id,)
        query = sql.SQL("select parent_id from {} where id = %s").format(
            sql.Identifier(self._tenant, parent.table)
        )
        with self._warehouse.connection() as connection:
            row = connection.execute(query, [parent_id]).fetchone()
        return (row[0], parent_id) if row else (parent_id,)

    def due(
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
        asked = {"age": max_age, "tenant": self._tenant, "entity": self._entity.name}
        with self._warehouse.connection() as connection:
            rows = connection.execute(query, asked).fetchall()
        parents = [
            (tuple(own for own in (outermost, inner) if own is not None), changed, old)
            for outermost, inner, changed, old in rows
        ]
        moved = [own for own, changed, _ in parents if changed]
        due = [own for own, changed, old in parents if old and not changed][:limit]
        return moved, due or [own for own, changed, _ in parents if not changed][:1]

    def announce_due(self, parents: int) -> None:
        """Notes in the run's row how many parents it has to read, for whoever watches it."""
        with self._warehouse.connection() as connection:
            connection.execute(
                "update cw_sync.run set parents_due = %s where run_id = %s", [parents, self._run_id]
            )

    def children(self, parent_id: int) -> tuple[datetime, list[int]]:
        """The warehouse's clock, and the ids of a parent's live children as of then."""
        query = sql.SQL(
            "select clock_timestamp(),"
            " array(select {} from {} where parent_id = %s and _deleted_at is null)"
        ).format(
            sql.Identifier(self._entity.key[-1]), sql.Identifier(self._tenant, self._entity.table)
        )
        with self._warehouse.connection() as connection:
            row = connection.execute(query, [parent_id], binary=True).fetchone()
        assert row is not None
        return row[0], row[1]

    def read(self, parent_id: int, at: datetime) -> None:
        """Notes that a parent's children, as they were `at` on the warehouse's clock, are in.

        Raises EntityBusy, and writes nothing, once another run has the entity's lease.
        """
        with self._warehouse.connection() as connection:
            connection.execute(
                "insert into cw_sync.parent_read (tenant, entity, parent_id, read_at)"
                " select %s, %s, %s, %s from cw_sync.fence(%s)"
                " on conflict (tenant, entity, parent_id) do update set read_at = excluded.read_at",
                [self._tenant, self._entity.name, parent_id, at, self._run_id],
            )

    def count(self, parent: Entity) -> int:
        """How many parents there are."""
        with self._warehouse.connection() as connection:
            return state.row_count(connection, self._tenant, parent)

    def complete_through(self, parent: Entity) -> datetime | None:
        """How complete another entity's table is; None if it was never synced."""
        with self._warehouse.connection() as connection:
            return state.read_checkpoint(connection, self._tenant, parent.name).watermark

    def oldest_read(self) -> datetime | None:
        """When the children that were read longest ago were read."""
        with self._warehouse.connection() as connection:
            return state.oldest_parent_read(connection, self._tenant, self._entity.name)
