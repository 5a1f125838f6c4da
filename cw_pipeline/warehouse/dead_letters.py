"""The dead-letter store, as people and replays see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cw_pipeline.warehouse.merge import id_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from psycopg import Connection

    from cw_pipeline.model import Reject

_COLUMNS = (
    "id, entity, record_id, parent_id, request, payload::text, reason, detail, attempts,"
    " first_seen, last_seen, retry_at, resolved_at, resolution, run_id"
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter; open until `resolved_at` is set. `payload` is the record's JSON text."""

    id: int
    entity: str
    record_id: int | None
    parent_id: int | None
    request: str
    payload: str | None
    reason: str
    detail: str
    attempts: int
    first_seen: datetime
    last_seen: datetime
    retry_at: datetime | None
    resolved_at: datetime | None
    resolution: str | None
    run_id: int | None


@dataclass(frozen=True, slots=True)
class DeadLetterEvent:
    """Something that happened to a dead letter."""

    at: datetime
    what: str
    detail: str


def open_dead_letters(
    connection: Connection[Any], tenant: str, entity: str | None = None
) -> list[DeadLetter]:
    """What is not in the warehouse, oldest first."""
    rows = connection.execute(
        f"select {_COLUMNS} from cw_sync.dead_letter"  # noqa: S608 - a constant
        " where tenant = %s and resolved_at is null and (%s::text is null or entity = %s)"
        " order by id",
        [tenant, entity, entity],
    )
    return [DeadLetter(*row) for row in rows]


def due_dead_letters(
    connection: Connection[Any], tenant: str, entity: str, limit: int, unseen_by: int | None = None
) -> list[DeadLetter]:
    """Open dead letters of an entity whose time to be tried again has come.

    `unseen_by` a run: instead those with an id that it has not stored again, nor one after it.
    """
    rows = connection.execute(
        f"select {_COLUMNS} from cw_sync.dead_letter"  # noqa: S608 - a constant
        " where tenant = %(tenant)s and entity = %(entity)s and resolved_at is null"
        " and case when %(run)s::bigint is null then retry_at <= now()"
        " else run_id < %(run)s and record_id is not null end"
        " order by retry_at limit %(limit)s",
        {"tenant": tenant, "entity": entity, "limit": limit, "run": unseen_by},
    )
    return [DeadLetter(*row) for row in rows]


def letter(connection: Connection[Any], tenant: str, letter_id: int) -> DeadLetter | None:
    """One dead letter, open or not."""
    row = connection.execute(
        f"select {_COLUMNS} from cw_sync.dead_letter where tenant = %s and id = %s",  # noqa: S608
        [tenant, letter_id],
    ).fetchone()
    return DeadLetter(*row) if row else None


def events(connection: Connection[Any], letter_id: int) -> list[DeadLetterEvent]:
    """Everything that happened to a dead letter, in order."""
    rows = connection.execute(
        "select at, what, detail from cw_sync.dead_letter_event where letter_id = %s order by id",
        [letter_id],
    )
    return [DeadLetterEvent(*row) for row in rows]


def discard(connection: Connection[Any], tenant: str, letter_id: int, why: str) -> bool:
    """Closes an open dead letter for good: whether there was one."""
    return close(connection, tenant, [letter_id], f"discarded: {why}") == 1


def close(
    connection: Connection[Any], tenant: str, letter_ids: Sequence[int], resolution: str
) -> int:
    """Closes open dead letters: how many."""
    return connection.execute(
        "update cw_sync.dead_letter set resolved_at = now(), resolution = %s"
        " where tenant = %s and id = any(%s) and resolved_at is null",
        [resolution, tenant, list(letter_ids)],
    ).rowcount


def postpone(connection: Connection[Any], tenant: str, letter_ids: Sequence[int]) -> None:
    """Counts a try that brought nothing new, and doubles the time to the next."""
    connection.execute(
        "update cw_sync.dead_letter set attempts = attempts + 1, last_seen = now(),"
        " retry_at = now() + least(interval '1 day',"
        " interval '5 minutes' * power(2, least(attempts, 20)))"
        " where tenant = %s and id = any(%s) and resolved_at is null",
        [tenant, list(letter_ids)],
    )


def store(
    connection: Connection[Any],
    tenant: str,
    entity: str,
    parent_id: int | None,
    rejects: Iterable[Reject],
    run_id: int,
) -> None:
    """Stores rejects; one that is there already is counted again.

    Each failure doubles the time to the next try, from 5 minutes up to a day.
    """
    for reject in rejects:
        target = _WITHOUT_ID if reject.record_id is None else _WITH_ID
        connection.execute(
            "insert into cw_sync.dead_letter as letter"  # noqa: S608 - a literal below
            " (tenant, entity, record_id, parent_id, request, payload, reason, detail, run_id,"
            " retry_at) values (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s,"
            f" now() + interval '5 minutes') on conflict {target}"
            " do update set attempts = letter.attempts + 1, last_seen = now(),"
            " payload = coalesce(excluded.payload, letter.payload), request = excluded.request,"
            " reason = excluded.reason, detail = excluded.detail, run_id = excluded.run_id,"
            " retry_at = now() + least(interval '1 day',"
            " interval '5 minutes' * power(2, least(letter.attempts, 20)))",
            [
                *(tenant, entity, reject.record_id, parent_id, reject.request, reject.record),
                *(reject.reason, reject.detail, run_id),
            ],
        )


_WITH_ID = (
    "(tenant, entity, record_id, parent_id) where resolved_at is null and record_id is not null"
)
_WITHOUT_ID = (
    "(tenant, entity, record_id, parent_id, md5(coalesce(payload::text, '')))"
    " where resolved_at is null and record_id is null"
)


def close_resolved(
    connection: Connection[Any],
    tenant: str,
    entity: str,
    parent_id: int | None,
    ids: Iterable[int],
) -> None:
    """Closes the dead letters of records of which a good copy is now in the warehouse."""
    connection.execute(
        "update cw_sync.dead_letter set resolved_at = now(), resolution = 'a good copy was loaded'"
        " where tenant = %s and entity = %s and resolved_at is null"
        " and record_id = any(%s::bigint[]) and parent_id is not distinct from %s",
        [tenant, entity, id_array(ids), parent_id],
    )
