"""The state beside the data, written in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.model import Checkpoint, IdRange, Window
from cw_pipeline.warehouse.merge import id_array

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Entity, Reject, SchemaDrift, SyncResult


def read_checkpoint(connection: Connection[Any], tenant: str, entity: str) -> Checkpoint:
    """How far the entity has come; a fresh checkpoint if it was never synced."""
    row = connection.execute(
        "select watermark, watermark_at, pass_since, pass_until, pass_at, cursor"
        " from cw_sync.checkpoint"
        " where tenant = %s and entity = %s",
        [tenant, entity],
    ).fetchone()
    if row is None:
        return Checkpoint()
    watermark, watermark_at, since, until, opened_at, cursor = row
    if until is None:
        return Checkpoint(watermark, watermark_at=watermark_at)
    ranges = connection.execute(
        "select after, upto, cursor from cw_sync.id_range where tenant = %s and entity = %s"
        " order by after desc",
        [tenant, entity],
    ).fetchall()
    tail = IdRange(0, None, cursor or 0)
    closed = tuple(IdRange(*r) for r in ranges)
    return Checkpoint(watermark, Window(since, until, opened_at), tail, closed, watermark_at)


def write_checkpoint(
    connection: Connection[Any], tenant: str, entity: str, checkpoint: Checkpoint, run_id: int
) -> None:
    """Stores the checkpoint whole, ranges included, and makes the run its owner.

    The transaction is the run's from then on, as by `lease.fence`, in the same statement.
    """
    window = checkpoint.window
    connection.execute(
        "insert into cw_sync.checkpoint"
        " (tenant, entity, watermark, watermark_at, pass_since, pass_until, pass_at, cursor,"
        " run_id)"
        " select %s, %s, %s, %s, %s, %s, %s, %s, run_id from cw_sync.fence(%s) as run_id"
        " on conflict (tenant, entity) do update set watermark = excluded.watermark,"
        " watermark_at = excluded.watermark_at, pass_since = excluded.pass_since,"
        " pass_until = excluded.pass_until, pass_at = excluded.pass_at,"
        " cursor = excluded.cursor, run_id = excluded.run_id, updated_at = now()",
        [
            tenant,
            entity,
            checkpoint.watermark,
            checkpoint.watermark_at,
            window.since if window else None,
            window.until if window else None,
            window.opened_at if window else None,
            checkpoint.tail.cursor if window else None,
            run_id,
        ],
    )
    connection.execute(
        "delete from cw_sync.id_range where tenant = %s and entity = %s", [tenant, entity]
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into cw_sync.id_range (tenant, entity, after, upto, cursor)"
            " values (%s, %s, %s, %s, %s)",
            [(tenant, entity, r.after, r.upto, r.cursor) for r in checkpoint.ranges],
        )


def note_clock_disorder(connection: Connection[Any], tenant: str, detail: str) -> None:
    """Stores that clocks disagree, and how, for `status` and the check `clocks`."""
    connection.execute(
        "insert into cw_sync.clock_disorder (tenant, detail) values (%s, %s)"
        " on conflict (tenant) do update set seen_at = now(), detail = excluded.detail",
        [tenant, detail],
    )


def finish_run(
    connection: Connection[Any], run_id: int, report: SyncResult, status: str, error: str | None
) -> None:
    """Writes what the run did, and how it ended."""
    connection.execute(
        "update cw_sync.run set finished_at = now(), status = %s, kind = %s, requests = %s,"
        " retries = %s, throttled_seconds = %s, pages = %s, rows_read = %s, rows_inserted = %s,"
        " rows_updated = %s, rows_unchanged = %s, rows_deleted = %s, rows_healed = %s,"
        " dead_letters = %s, error = %s where run_id = %s",
        [
            status,
            report.kind,
            report.requests,
            report.retries,
            round(report.throttled_seconds, 3),
            report.pages,
            report.rows_read,
            report.rows_inserted,
            report.rows_updated,
            report.rows_unchanged,
            report.rows_deleted,
            report.rows_healed,
            report.dead_letters,
            error,
            run_id,
        ],
    )


def store_rejects(
    connection: Connection[Any],
    tenant: str,
    entity: str,
    rejects: Iterable[Reject],
    run_id: int,
    parent_id: int | None = None,
) -> None:
    """Puts rejects into the dead-letter store; one that is there already is counted again.

    Each failure doubles the time to the next try, from 5 minutes up to a day.
    """
    for reject in rejects:
        predicate = "record_id is null" if reject.record_id is None else "record_id is not null"
        target = (
            "(tenant, entity, record_id, parent_id, md5(coalesce(payload::text, '')))"
            if reject.record_id is None
            else "(tenant, entity, record_id, parent_id)"
        )
        connection.execute(
            "insert into cw_sync.dead_letter as letter"  # noqa: S608 - both parts are literals above
            " (tenant, entity, record_id, parent_id, request, payload, reason, detail, run_id,"
            " retry_at) values (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s,"
            " now() + interval '5 minutes')"
            f" on conflict {target} where resolved_at is null and {predicate}"
            " do update set attempts = letter.attempts + 1, last_seen = now(),"
            " payload = coalesce(excluded.payload, letter.payload), request = excluded.request,"
            " reason = excluded.reason, detail = excluded.detail, run_id = excluded.run_id,"
            " retry_at = now() + least(interval '1 day',"
            " interval '5 minutes' * power(2, least(letter.attempts, 20)))",
            [
                tenant,
                entity,
                reject.record_id,
                parent_id,
                reject.request,
                reject.record,
                reject.reason,
                reject.detail,
                run_id,
            ],
        )


def close_resolved(
    connection: Connection[Any],
    tenant: str,
    entity: str,
    ids: Iterable[int],
    parent_id: int | None = None,
) -> None:
    """Closes the dead letters of records of which a good copy is now in the warehouse."""
    connection.execute(
        "update cw_sync.dead_letter set resolved_at = now(), resolution = 'a good copy was loaded'"
        " where tenant = %s and entity = %s and resolved_at is null"
        " and record_id = any(%s::bigint[])"
        " and parent_id is not distinct from %s",
        [tenant, entity, id_array(ids), parent_id],
    )


def note_drift(
    connection: Connection[Any], tenant: str, entity: str, drift: Iterable[SchemaDrift]
) -> None:
    """Records each unknown field and each kind of mending once, with when it was last seen."""
    seen = {(d.column, d.change): d for d in drift}
    with connection.cursor() as cursor:
        cursor.executemany(
            'insert into cw_sync.column_drift as drift (tenant, entity, "column", change, sample)'
            ' values (%s, %s, %s, %s, %s) on conflict (tenant, entity, "column", change)'
            " do update set last_seen = now()",
            # In one order: ranges that load side by side would lock each other out otherwise.
            [(tenant, entity, *key, seen[key].sample) for key in sorted(seen)],
        )


def store_capability(
    connection: Connection[Any], tenant: str, entity: str, **seen: bool | None
) -> None:
    """Stores what a list was seen to do (readable, count, filterable, forward_only, by_id)."""
    for name, value in seen.items():
        assert name in {"readable", "count", "filterable", "forward_only", "by_id"}, name
        connection.execute(
            f"insert into cw_sync.capability (tenant, entity, {name}) values (%s, %s, %s)"  # noqa: S608
            f" on conflict (tenant, entity) do update set {name} = excluded.{name},"
            " checked_at = now()",
            [tenant, entity, value],
        )


def capability(connection: Connection[Any], tenant: str, entity: str) -> dict[str, bool | None]:
    """What the list was seen to do; None where it was never seen."""
    row = connection.execute(
        "select readable, count, filterable, forward_only, by_id from cw_sync.capability"
        " where tenant = %s and entity = %s",
        [tenant, entity],
    ).fetchone()
    names = ("readable", "count", "filterable", "forward_only", "by_id")
    return dict(zip(names, row or (None,) * len(names), strict=True))


def was_readable(connection: Connection[Any], tenant: str, entity: str) -> bool:
    """Whether any reconcile or sync has ever read the entity's list to its end.

    Not what was seen last: a role that shrank would be forgiven after one night.
    """
    row = connection.execute(
        "select exists (select from cw_sync.audit where tenant = %(tenant)s"
        " and entity = %(entity)s and kind = 'reconcile' and source_rows is not null)"
        " or exists (select from cw_sync.checkpoint where tenant = %(tenant)s"
        " and entity = %(entity)s and watermark is not null)",
        {"tenant": tenant, "entity": entity},
    ).fetchone()
    assert row is not None
    return bool(row[0])


def oldest_parent_read(connection: Connection[Any], tenant: str, entity: str) -> datetime | None:
    """When the parent whose children were read longest ago had them read."""
    row = connection.execute(
        "select min(read_at) from cw_sync.parent_read where tenant = %s and entity = %s",
        [tenant, entity],
    ).fetchone()
    return row[0] if row else None


# Notes stay until there is a count to add them to.
_SUM = """
with counted as (
    select from cw_sync.checkpoint
    where tenant = %(tenant)s and entity = %(entity)s and row_count is not null
), noted as (
    delete from cw_sync.row_change
    where tenant = %(tenant)s and entity = %(entity)s and exists (select from counted)
    returning change
), summed as (
    update cw_sync.checkpoint set row_count = row_count + (select sum(change) from noted)
    where tenant = %(tenant)s and entity = %(entity)s and exists (select from noted)
    returning row_count
)
select row_count from summed
union all
select row_count from cw_sync.checkpoint
where tenant = %(tenant)s and entity = %(entity)s and not exists (select from noted)
"""

# One statement: what it counts is what it forgets the notes of.
_COUNT = """
with noted as (
    delete from cw_sync.row_change where tenant = %(tenant)s and entity = %(entity)s
), counted as (
    select count(*) as rows from {table} where _deleted_at is null
), kept as (
    update cw_sync.checkpoint set row_count = counted.rows from counted
    where tenant = %(tenant)s and entity = %(entity)s
)
select rows from counted
"""


def add_row_change(connection: Connection[Any], tenant: str, entity: Entity, change: int) -> None:
    """Notes that the table has grown by so many live rows, in the transaction that did it."""
    if change:
        connection.execute(
            "insert into cw_sync.row_change (tenant, entity, change) values (%s, %s, %s)",
            [tenant, entity.name, change],
        )


def row_count(connection: Connection[Any], tenant: str, entity: Entity) -> int:
    """How many there are by what was noted since they were counted; counted if they never were."""
    row = connection.execute(_SUM, _key(tenant, entity)).fetchone()
    return count(connection, tenant, entity) if row is None or row[0] is None else int(row[0])


def count(connection: Connection[Any], tenant: str, entity: Entity) -> int:
    """Counts them, and remembers that."""
    query = sql.SQL(_COUNT).format(table=sql.Identifier(tenant, entity.table))
    row = connection.execute(query, _key(tenant, entity)).fetchone()
    assert row is not None
    return int(row[0])


def _key(tenant: str, entity: Entity) -> dict[str, str]:
    return {"tenant": tenant, "entity": entity.name}


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
    return _is_still_ours(connection, tenant, entity, run_id)


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
    return _is_still_ours(connection, tenant, entity, run_id)


def finish(connection: Connection[Any], tenant: str, entity: str, read: IdRange) -> None:
    """Forgets a range that has been read to its end."""
    connection.execute(
        "delete from cw_sync.id_range where tenant = %s and entity = %s and after = %s",
        [tenant, entity, read.after],
    )


def _is_still_ours(connection: Connection[Any], tenant: str, entity: str, run_id: int) -> bool:
    """Whether the run may still move the pass; nobody takes it over before the transaction ends."""
    found = connection.execute(
        "select from cw_sync.checkpoint where tenant = %s and entity = %s and run_id = %s"
        " for share",
        [tenant, entity, run_id],
    )
    return found.rowcount == 1
