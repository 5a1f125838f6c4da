"""What a round of questions to all lists reads and writes of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cw_pipeline.model import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection

_STATES = """
select c.entity, c.watermark, c.watermark_at, c.updated_at, now() - c.updated_at,
       now() - c.watermark,
       case when last.status is distinct from 'failed' then now() - c.watermark_at end, c.page_size,
       c.pass_until is not null or c.step_until is not null or exists (
           select from cw_sync.lease l
           where l.tenant = c.tenant and l.entity = c.entity and l.purpose = 'pass'
             and l.expires_at > now()
       ) or exists (
           select from cw_sync.dead_letter d
           where d.tenant = c.tenant and d.entity = c.entity and d.resolved_at is null
             and d.retry_at <= now()
       ) or k.filterable is false or k.readable is false
from cw_sync.checkpoint c
left join cw_sync.capability k on k.tenant = c.tenant and k.entity = c.entity
left join lateral (
    select r.status from cw_sync.run r
    where r.tenant = c.tenant and r.entity = c.entity
      and r.kind in ('refresh', 'full') and r.status <> 'started'
    order by r.run_id desc limit 1
) last on true
where c.tenant = %s and c.entity = any(%s)
"""
# A run is stamped with the beginning of the transaction that closes it, and is seen at its end: so
# the oldest open one bounds the span. All of this role, as not every pooler passes on what its
# clients call themselves.
_SETTLED = """
select date_trunc('minute', least(now() - interval '15 seconds',
    (select min(a.xact_start) - interval '1 microsecond' from pg_stat_activity a
     where a.datname = current_database() and a.pid <> pg_backend_pid()
       and (a.usename = session_user or a.application_name like 'cw_pipeline%'))))
"""
# By the latest runs alone: there is no index by time.
_OUTSIDE = """
select entity, string_agg(distinct case kind when 'hint' then 'hint' else 'pass' end, ' and '),
    sum(rows_inserted + rows_updated + rows_deleted)::bigint, sum(requests)::bigint,
    max(finished_at)
from cw_sync.run
where run_id > (select max(run_id) - 5000 from cw_sync.run) and tenant = %s
    and dagster_run_id is null and kind in ('hint', 'refresh', 'full')
    and finished_at >= %s and finished_at < %s
    and rows_inserted + rows_updated + rows_deleted > 0
group by entity
"""


@dataclass(frozen=True, slots=True)
class ChangeOutside:
    """Rows of an entity that changed by runs which Dagster does not know.

    `by`: hint, pass. `at`: when the latest of them finished, by the warehouse's clock.
    """

    entity: str
    by: str
    rows: int
    requests: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ListState:
    """How a list stood before it was asked.

    `busy`: a pass is open or under way, a dead letter is due, it takes no such question, or its
    next passes overlap by more than usual.
    `since_pass` and `age` are how long ago it was last written to, and its watermark; `since_asked`
    how long ago the question was asked that moved the watermark there, None if a pass failed since.
    """

    entity: str
    checkpoint: Checkpoint
    updated_at: datetime
    since_pass: timedelta
    age: timedelta | None
    since_asked: timedelta | None
    page_size: int | None
    busy: bool


def list_states(
    connection: Connection[Any], tenant: str, entities: Sequence[str]
) -> dict[str, ListState]:
    """How these lists stand; those that were never synced are not there."""
    rows = connection.execute(_STATES, [tenant, list(entities)]).fetchall()
    return {
        name: ListState(name, Checkpoint(watermark, watermark_at=began), *rest)
        for name, watermark, began, *rest in rows
    }


class ListRefusal(NamedTuple):
    """How long ago a list answered 403 or 404; `is_final`: a pass leaves it alone, too."""

    age: timedelta
    is_final: bool


def refused_lists(
    connection: Connection[Any], tenant: str, entities: Sequence[str]
) -> dict[str, ListRefusal]:
    """Those of the lists that were refused the last time."""
    rows = connection.execute(
        "select entity, now() - checked_at, detail <> '' from cw_sync.capability"
        " where readable is false and tenant = %s and entity = any(%s)",
        [tenant, list(entities)],
    ).fetchall()
    return {name: ListRefusal(*rest) for name, *rest in rows}


def advance_watermarks(
    connection: Connection[Any],
    tenant: str,
    entities: Sequence[str],
    watermark: datetime,
    watermark_at: datetime,
) -> int:
    """Moves watermarks on of lists that had nothing new up to then: of how many.

    A list that has a pass by now is left to it. Meanwhile one may have begun, read the watermark,
    and not stored its window yet; storing that sets the earlier watermark again, and its end a
    later one: no change is left out.
    """
    return connection.execute(
        "update cw_sync.checkpoint set watermark = %s, watermark_at = %s, updated_at = now()"
        " where tenant = %s and entity = any(%s) and pass_until is null and watermark <= %s",
        [watermark, watermark_at, tenant, list(entities), watermark],
    ).rowcount


def changes_outside_dagster(
    connection: Connection[Any], tenant: str, since: datetime | None, back: timedelta
) -> tuple[datetime, list[ChangeOutside]]:
    """What passes and hints that were no step of Dagster's changed since then, by entity.

    Up to the moment returned, a full minute by the warehouse's clock before which no run can still
    finish: the next `since`. `back` is how far to look back without one.
    """
    row = connection.execute(_SETTLED).fetchone()
    assert row is not None
    (until,) = row
    since = since or until - back
    if until <= since:  # asked a moment ago, or a transaction is open for long
        return since, []
    # A statement of its own, which sees what ended since the other one.
    rows = connection.execute(_OUTSIDE, [tenant, since, until]).fetchall()
    return until, [ChangeOutside(*row) for row in rows]
