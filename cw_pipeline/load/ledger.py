"""What is remembered of an entity beside its rows and its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.load import letters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from cw_pipeline.load.warehouse import Warehouse
    from cw_pipeline.model import Audit


class Ledger:
    """One entity's dead letters, counts, audits and rotations. Every call commits by itself."""

    def __init__(self, warehouse: Warehouse, entity: str) -> None:
        self._warehouse = warehouse
        self._key = (warehouse.tenant, entity)

    def due_letters(self, limit: int) -> list[letters.Letter]:
        """Dead letters whose time to be tried again has come."""
        with self._warehouse.connection() as connection:
            return letters.due_letters(connection, *self._key, limit)

    def close_letters(self, letter_ids: Sequence[int], resolution: str) -> None:
        """Closes dead letters, with what became of the record."""
        with self._warehouse.connection() as connection:
            letters.close(connection, self._key[0], letter_ids, resolution)

    def postpone_letters(self, letter_ids: Sequence[int]) -> None:
        """Counts a try that brought nothing new."""
        with self._warehouse.connection() as connection:
            letters.postpone(connection, self._key[0], letter_ids)

    def page_size(self) -> int | None:
        """How many records a page may have without timing out; None: as many as are set."""
        return self._number("select page_size from cw_sync.checkpoint where {key}")

    def remember_page_size(self, size: int | None) -> None:
        """Stores that, for the next pass."""
        self._execute("update cw_sync.checkpoint set page_size = %s where {key}", size)

    def count_due(self, age: timedelta) -> bool:
        """Whether the list's count was last asked longer than `age` ago."""
        return not self._number(
            "select 1 from cw_sync.source_count where at > now() - %s and {key}", age
        )

    def counted(self, source_rows: int, warehouse_rows: int) -> None:
        """Stores what the list's count said beside the table's."""
        self._execute(
            "insert into cw_sync.source_count (source_rows, warehouse_rows, tenant, entity)"
            " values (%s, %s, %s, %s) on conflict (tenant, entity) do update set at = now(),"
            " source_rows = excluded.source_rows, warehouse_rows = excluded.warehouse_rows",
            source_rows,
            warehouse_rows,
        )

    def quarantine(
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
        with self._warehouse.transaction() as connection:
            connection.execute(
                "delete from cw_sync.delete_candidate where tenant = %s and entity = %s"
                " and (%s::bigint[] is null or parent_id = any(%s))",
                [*self._key, parents, parents],
            )
            connection.execute(
                "insert into cw_sync.delete_candidate"
                " (tenant, entity, parent_id, record_id, reason)"
                " select %s, %s, row.*, %s from unnest(%s::bigint[], %s::bigint[]) as row",
                [*self._key, reason, [own for own, _ in rows], [own for _, own in rows]],
            )

    def reread_cursor(self) -> int:
        """The last id that the rotating re-read has read."""
        return self._number("select cursor from cw_sync.reread where {key}") or 0

    def reread_to(self, cursor: int) -> None:
        """Stores how far the rotating re-read has come; 0 to begin anew."""
        self._execute(
            "insert into cw_sync.reread (cursor, tenant, entity) values (%s, %s, %s)"
            " on conflict (tenant, entity) do update set cursor = excluded.cursor,"
            " updated_at = now()",
            cursor,
        )

    def write_audit(self, audit: Audit) -> None:
        """Adds an audit to the history of them."""
        self._execute(
            "insert into cw_sync.audit (kind, source_rows, warehouse_rows, missing, stale, extra,"
            " healed, deleted, drift, proven, detail, tenant, entity)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            audit.kind,
            audit.source_rows,
            audit.warehouse_rows,
            audit.missing,
            audit.stale,
            audit.extra,
            audit.healed,
            audit.deleted,
            audit.drift,
            audit.proven,
            audit.detail,
        )

    def _execute(self, query: str, *values: object) -> None:
        with self._warehouse.connection() as connection:
            connection.execute(_keyed(query), [*values, *self._key])

    def _number(self, query: str, *values: object) -> int | None:
        with self._warehouse.connection() as connection:
            row = connection.execute(_keyed(query), [*values, *self._key]).fetchone()
        return None if row is None or row[0] is None else int(row[0])


def _keyed(query: str) -> str:
    """`{key}` stands at the end of a query, as its last two values do."""
    return query.replace("{key}", "tenant = %s and entity = %s")
