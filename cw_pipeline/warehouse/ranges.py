"""How far an open pass has come, range by range, written in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.model import IdRange


def move_cursor(
    connection: Connection[Any], tenant: str, entity: str, reached: IdRange, run_id: int
) -> bool:
    """Moves a range's cursor, or the tail's. False: another run owns the pass."""
    if reached.upto is None:
        moved = connection.execute(
            "update cw_sync.checkpoint set cursor = %s, updated_at = now()"
            " where tenant = %s and entity = %s and run_id = %s",
            [reached.cursor, tenant, entity, run_id],
        )
        return moved.rowcount == 1
    connection.execute(
        "update cw_sync.id_range set cursor = %s where tenant = %s and entity = %s and after = %s",
        [reached.cursor, tenant, entity, reached.after],
    )
    return _owned(connection, tenant, entity, run_id)


def split(
    connection: Connection[Any],
    tenant: str,
    entity: str,
    halves: tuple[IdRange, IdRange],
    run_id: int,
) -> bool:
    """Ends a range where the second of its halves begins. False: another run owns the pass.

    The first one's cursor stays as it is stored: a page that it covers may not be loaded yet.
    """
    _, upper = halves
    connection.execute(
        "update cw_sync.id_range set upto = %s where tenant = %s and entity = %s and after = %s",
        [upper.after, tenant, entity, halves[0].after],
    )
    connection.execute(
        "insert into cw_sync.id_range (tenant, entity, after, upto, cursor)"
        " values (%s, %s, %s, %s, %s)",
        [tenant, entity, upper.after, upper.upto, upper.cursor],
    )
    return _owned(connection, tenant, entity, run_id)


def finish(connection: Connection[Any], tenant: str, entity: str, read: IdRange) -> None:
    """Forgets a range that has been read to its end."""
    connection.execute(
        "delete from cw_sync.id_range where tenant = %s and entity = %s and after = %s",
        [tenant, entity, read.after],
    )


def _owned(connection: Connection[Any], tenant: str, entity: str, run_id: int) -> bool:
    """Whether the run may still move the pass; nobody takes it over before the transaction ends."""
    found = connection.execute(
        "select from cw_sync.checkpoint where tenant = %s and entity = %s and run_id = %s"
        " for share",
        [tenant, entity, run_id],
    )
    return found.rowcount == 1
