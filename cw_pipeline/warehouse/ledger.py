"""What is remembered of an entity beside its rows and its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.warehouse import dead_letters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from cw_pipeline.model import Audit
    from cw_pipeline.warehouse.warehouse import Warehouse


class Ledger:
    """One entity's dead letters, counts, audits and rotations. Every call commits by itself.

    Whatever writes raises EntityBusy, and writes nothing, once another run has the entity's lease.
    """

    def __init__(self, warehouse: Warehouse, entity: str, run_id: int) -> None:
        self._warehouse = warehouse
        self._tenant = warehouse.tenant
        self._entity = entity
        self._run_id = run_id

    def due_letters(self, limit: int) -> list[dead_letters.DeadLetter]:
        """Dead letters whose time to be tried again has come."""
        with self._warehouse.connection() as connection:
            return dead_letters.due_dead_letters(connection, self._tenant, self._entity, limit)

    def close_letters(self, letter_ids: Sequence[int], resolution: str) -> None:
        """Closes dead letters, with what became of the record."""
        with self._warehouse.fenced(self._run_id) as connection:
            dead_letters.close(connection, self._tenant, letter_ids, resolution)

    def postpone_letters(self, letter_ids: Sequence[int]) -> None:
        """Counts a try that brought nothing new."""
        with self._warehouse.fenced(self._run_id) as connection:
            dead_letters.postpone(connection, self._tenant, letter_ids)

    def page_size(self) -> int | None:
        """How many records a page may have without timing out; None: as many as are set."""
        return self._number(
            "select page_size from cw_sync.checkpoint"
            " where tenant = %(tenant)s and entity = %(entity)s"
        )

    def remember_page_size(self, size: int | None) -> None:
        """Stores that, for the next pass."""
        self._write(
            "update cw_sync.checkpoint set page_size = %(size)s from cw_sync.fence(%(run_id)s)"
            " where tenant = %(tenant)s and entity = %(entity)s",
            size=size,
        )

    def count_due(self, age: timedelta) -> bool:
        """Whether the list's count was last asked longer than `age` ago."""
        return not self._number(
            "select 1 from cw_sync.source_count where at > now() - %(age)s"
            " and tenant = %(tenant)s and entity = %(entity)s",
            age=age,
        )

    def counted(self, source_rows: int, warehouse_rows: int) -> None:
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
        with self._warehouse.fenced(self._run_id) as connection:
            connection.execute(
                "delete from cw_sync.delete_candidate where tenant = %s and entity = %s"
                " and (%s::bigint[] is null or parent_id = any(%s))",
                [self._tenant, self._entity, parents, parents],
            )
            connection.execute(
                "insert into cw_sync.delete_candidate"
                " (tenant, entity, parent_id, record_id, reason)"
                " select %s, %s, row.*, %s from unnest(%s::bigint[], %s::bigint[]) as row",
                [
                    *(self._tenant, self._entity, reason),
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

    def reread_to(self, cursor: int) -> None:
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

    def _write(self, query: str, **values: object) -> None:
        """Writes by one statement that calls `fence` itself: it needs no transaction around it."""
        with self._warehouse.connection() as connection:
            connection.execute(query.encode(), self._named(values))

    def _number(self, query: str, **values: object) -> int | None:
        with self._warehouse.connection() as connection:
            row = connection.execute(query.encode(), self._named(values)).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _named(self, values: dict[str, object]) -> dict[str, object]:
        own = {"tenant": self._tenant, "entity": self._entity, "run_id": self._run_id}
        return own | values
