"""Hints in the warehouse: put there by the receiver, read and removed by the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection

# A hint without a stamp may come of another record, a site of the company: "deleted" stays.
# In the order of keys, or two receivers that store the same records would wait for each other.
# Not waiting for the disk: a server that crashes within the next half second loses hints, which a
# pass makes good, and no transaction after them outlives them.
_PUT = """
with commit as materialized (select set_config('synchronous_commit', 'off', true))
insert into cw_sync.hint as h (tenant, type, record_id, action, stamp, times)
select t.* from commit, unnest(
    %s::text[], %s::text[], %s::bigint[], %s::text[], %s::timestamptz[], %s::int[]
) as t
order by 1, 2, 3
on conflict (tenant, type, record_id) do update set
    action = case
        when h.action = 'deleted' and excluded.stamp is null then h.action else excluded.action
    end,
    stamp = greatest(h.stamp, excluded.stamp), last_at = now(),
    times = h.times + excluded.times, seq = nextval('cw_sync.hint_seq'), due_at = now(), tries = 0
"""
_DUE = """
select type, record_id, action, stamp, seq, tries from cw_sync.hint
where tenant = %s and due_at <= now() order by seq limit %s
"""
_WHOSE = """
select name from unnest(%s::text[]) as t(name)
where exists (select from cw_sync.hint h where h.tenant = name and h.due_at <= now())
"""
_REMOVE = """
delete from cw_sync.hint h using unnest(%s::text[], %s::bigint[], %s::bigint[]) as d(type, id, seq)
where h.tenant = %s and h.type = d.type and h.record_id = d.id and h.seq = d.seq
"""
_POSTPONE = """
update cw_sync.hint h set due_at = now() + %s, tries = tries + 1
from unnest(%s::text[], %s::bigint[], %s::bigint[]) as d(type, id, seq)
where h.tenant = %s and h.type = d.type and h.record_id = d.id and h.seq = d.seq
"""
# By the minute in which they finished, as Dagster is told of them: in another minute, the rows of
# runs that it was told of would be told of again.
_ONE_RUN_A_MINUTE = """
with minute as (
    select entity, date_trunc('minute', finished_at) as minute, min(run_id) as run_id,
        max(finished_at) as finished_at, sum(requests) as requests, sum(retries) as retries,
        sum(throttled_seconds) as throttled_seconds, sum(pages) as pages,
        sum(rows_read) as rows_read, sum(rows_inserted) as rows_inserted,
        sum(rows_updated) as rows_updated, sum(rows_unchanged) as rows_unchanged,
        sum(rows_deleted) as rows_deleted, sum(dead_letters) as dead_letters
    from cw_sync.run
    where tenant = %(tenant)s and kind = 'hint' and status = 'done'
        and started_at >= date_trunc('minute', now()) - interval '10 minutes'
        and finished_at < date_trunc('minute', now())
    group by 1, 2 having count(*) > 1
), others as (
    delete from cw_sync.run r using minute m
    where r.tenant = %(tenant)s and r.entity = m.entity and r.kind = 'hint' and r.status = 'done'
        and date_trunc('minute', r.finished_at) = m.minute and r.run_id <> m.run_id
        and r.started_at >= date_trunc('minute', now()) - interval '10 minutes'
)
update cw_sync.run r set finished_at = m.finished_at, requests = m.requests, retries = m.retries,
    throttled_seconds = m.throttled_seconds, pages = m.pages, rows_read = m.rows_read,
    rows_inserted = m.rows_inserted, rows_updated = m.rows_updated,
    rows_unchanged = m.rows_unchanged, rows_deleted = m.rows_deleted,
    dead_letters = m.dead_letters
from minute m where r.run_id = m.run_id
"""
_PARENTS_DUE = """
update cw_sync.parent_read r set read_at = p._synced_at from {schema}.{table} p
where r.tenant = %s and r.entity = any(%s) and r.parent_id = p.id and p.id = any(%s)
    and r.read_at > p._synced_at
"""
_COUNT = """
insert into cw_sync.callback_count as c (tenant, outcome, times) values (%s, %s, %s)
on conflict (tenant, outcome) do update set times = c.times + excluded.times, last_at = now()
"""
_LISTENS = """
insert into cw_sync.callback_state as s (tenant, receiver_at) select unnest(%s::text[]), now()
on conflict (tenant) do update set receiver_at = now()
"""


@dataclass(frozen=True, slots=True)
class Hint:
    """A callback's word that a record may have changed; `stamp` is the `lastUpdated` it names."""

    tenant: str
    type: str
    record_id: int
    action: str
    stamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class DueHint:
    """A hint whose record is to be read. `seq` is another one once a callback came again."""

    type: str
    record_id: int
    action: str
    stamp: datetime | None
    seq: int
    tries: int


def put_hints(connection: Connection[Any], hints: Iterable[Hint]) -> None:
    """Stores hints, those about one record as one."""
    merged: dict[tuple[str, str, int], tuple[Hint, int]] = {}
    for hint in hints:
        key = (hint.tenant, hint.type, hint.record_id)
        before, times = merged.get(key, (hint, 0))
        merged[key] = (_later(before, hint), times + 1)
    each = [(h.tenant, h.type, h.record_id, h.action, h.stamp, n) for h, n in merged.values()]
    if each:
        connection.execute(_PUT, [list(column) for column in zip(*each, strict=True)])


def _later(before: Hint, hint: Hint) -> Hint:
    """The later of two hints about one record, with the greater stamp of both.

    "deleted" stays where the later one has no stamp, as in the warehouse.
    """
    is_gone = before.action == "deleted" and hint.stamp is None
    action = before.action if is_gone else hint.action
    stamps = [stamp for stamp in (before.stamp, hint.stamp) if stamp is not None]
    stamp = max(stamps, default=None)
    return Hint(hint.tenant, hint.type, hint.record_id, action, stamp)


def due_hints(connection: Connection[Any], tenant: str, most: int) -> list[DueHint]:
    """The hints that are due, oldest first."""
    return [DueHint(*row) for row in connection.execute(_DUE, [tenant, most]).fetchall()]


def tenants_with_hints(connection: Connection[Any], tenants: Sequence[str]) -> list[str]:
    """Those of the tenants that have hints which are due."""
    return [name for (name,) in connection.execute(_WHOSE, [[*tenants]]).fetchall()]


def remove_hints(connection: Connection[Any], tenant: str, read: Sequence[DueHint]) -> None:
    """Removes hints whose records were read, but for those that came again meanwhile."""
    connection.execute(_REMOVE, [*_keys(read), tenant])


def postpone_hints(
    connection: Connection[Any], tenant: str, hints: Sequence[DueHint], wait: timedelta
) -> None:
    """Makes hints due later, but for those that came again meanwhile."""
    connection.execute(_POSTPONE, [wait, *_keys(hints), tenant])


def _keys(hints: Sequence[DueHint]) -> list[list[Any]]:
    return [[h.type for h in hints], [h.record_id for h in hints], [h.seq for h in hints]]


def count_callbacks(connection: Connection[Any], counts: Mapping[tuple[str, str], int]) -> None:
    """Adds to how often callbacks of a tenant had an outcome: by (tenant, outcome)."""
    for (tenant, outcome), times in sorted(counts.items()):
        connection.execute(_COUNT, [tenant, outcome, times])


def make_parents_due(
    connection: Connection[Any],
    tenant: str,
    table: str,
    children: Sequence[str],
    ids: Sequence[int],
) -> None:
    """Has the next pass over lists below these records read theirs.

    What hangs on a record has no callbacks of its own, and need not move the record's stamp.
    """
    query = sql.SQL(_PARENTS_DUE).format(schema=sql.Identifier(tenant), table=sql.Identifier(table))
    connection.execute(query, [tenant, [*children], [*ids]])


def note_receiver(connection: Connection[Any], tenants: Iterable[str]) -> None:
    """Stores that a receiver listens for these tenants now."""
    connection.execute(_LISTENS, [sorted(set(tenants))])


def parents_of(
    connection: Connection[Any], tenant: str, table: str, ids: Iterable[int]
) -> list[int]:
    """The parents of stored records of a list below them."""
    query = sql.SQL("select distinct parent_id from {} where id = any(%s)")
    place = sql.Identifier(tenant, table)
    return [parent for (parent,) in connection.execute(query.format(place), [[*ids]]).fetchall()]


def note_read(connection: Connection[Any], tenant: str, entity: str) -> None:
    """Stores that records of an entity which callbacks named were read just now."""
    connection.execute(
        "update cw_sync.checkpoint set hint_at = now() where tenant = %s and entity = %s",
        [tenant, entity],
    )


def add_up_runs(connection: Connection[Any], tenant: str) -> None:
    """Makes one run of those that read hints of an entity and finished within one minute, now over.

    An edit each second would else be 86,400 rows a day for each entity.
    """
    connection.execute(_ONE_RUN_A_MINUTE, {"tenant": tenant})
