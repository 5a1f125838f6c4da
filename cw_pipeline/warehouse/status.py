"""How the warehouse stands, entity by entity: what `status` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.warehouse.lease import dead_runs
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection

    from cw_pipeline.model import Entity


_INTERRUPTED = ("interrupted", "its process was gone before it ended")
"""What runs say that were cut short by whoever started them, or with their process."""

_QUERY = """
with touched as (
    select entity from cw_sync.checkpoint where tenant = %(tenant)s
    union select entity from cw_sync.run where tenant = %(tenant)s
    union select entity from cw_sync.dead_letter where tenant = %(tenant)s and resolved_at is null
),
letters as (
    select entity, count(*) as open from cw_sync.dead_letter
    where tenant = %(tenant)s and resolved_at is null group by entity
),
columns as (
    select entity, count(*) as drifted from cw_sync.column_drift
    where tenant = %(tenant)s group by entity
),
rereads as (
    select entity, sum(drift)::bigint as drift, sum(source_rows)::bigint as reread
    from cw_sync.audit
    where tenant = %(tenant)s and kind = 'reread' and at > now() - interval '14 days'
    group by entity
),
changes as (
    select entity, sum(change)::bigint as rows from cw_sync.row_change
    where tenant = %(tenant)s group by entity
),
kept as (
    select entity, count(*) as rows from cw_sync.delete_candidate
    where tenant = %(tenant)s group by entity
),
parents as (
    select entity, min(read_at) as oldest from cw_sync.parent_read
    where tenant = %(tenant)s group by entity
)
select t.entity, c.watermark, now() - c.watermark,
       coalesce(c.row_count + coalesce(ch.rows, 0), ch.rows), c.pass_until is not null,
       coalesce(l.open, 0), coalesce(re.drift, 0), coalesce(re.reread, 0),
       coalesce(d.drifted, 0), coalesce(k.rows, 0), p.oldest,
       a.at, a.proven, can.readable, s.at, s.source_rows, s.warehouse_rows,
       r.kind,
       case when r.status = 'failed' and r.error = any(%(interrupted)s)
                or r.status = 'started' and not coalesce(r.is_alive, false)
            then 'interrupted' else r.status end, r.started_at, r.finished_at, r.requests,
       r.rows_read, r.rows_inserted, r.rows_updated, r.rows_deleted, r.error
from touched t
left join cw_sync.checkpoint c on c.tenant = %(tenant)s and c.entity = t.entity
left join letters l on l.entity = t.entity
left join rereads re on re.entity = t.entity
left join columns d on d.entity = t.entity
left join changes ch on ch.entity = t.entity
left join kept k on k.entity = t.entity
left join parents p on p.entity = t.entity
left join cw_sync.capability can on can.tenant = %(tenant)s and can.entity = t.entity
left join cw_sync.source_count s on s.tenant = %(tenant)s and s.entity = t.entity
left join lateral (
    select at, proven from cw_sync.audit
    where tenant = %(tenant)s and entity = t.entity and kind = 'reconcile'
    order by at desc limit 1
) a on true
left join lateral (
    select run.*, lease.run_id <> all(%(dead)s) and lease.expires_at
            between clock_timestamp() and clock_timestamp() + lease.span as is_alive
    from cw_sync.run left join cw_sync.lease using (run_id)
    where run.tenant = %(tenant)s and run.entity = t.entity and run.kind <> 'hint'
    order by run.run_id desc limit 1
) r on true
order by t.entity
"""


_TABLES = """
select n.nspname, count(c.oid) from pg_namespace n
left join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p')
where n.nspname = any(%s) group by n.nspname
"""


def table_counts(connection: Connection[Any], *schemas: str) -> dict[str, int]:
    """How many tables those of the schemas have that are there."""
    return dict(connection.execute(_TABLES, [list(schemas)]).fetchall())


@dataclass(frozen=True, slots=True)
class LastRun:
    """What was last done to an entity. `status`: started, done, failed or interrupted."""

    kind: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    requests: int
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    error: str | None


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """How one entity stands. None: not known, or not yet.

    Every change up to `complete_through` is in the warehouse, which was `age` ago. `rows` are the
    live ones, those of a load that is going on or was cut short included. `drift` of the `reread`
    records that were read again in the last two weeks had changed although their stamps had not
    moved; `column_drift` fields are not as the catalog has them. `/count` said `source_rows` at
    `counted_at`, when there were `counted_rows`.
    `quarantined` rows are no longer listed at the source but were kept by the delete guard.
    `oldest_parent`: when the children that were read longest ago were.
    """

    entity: str
    complete_through: datetime | None
    age: timedelta | None
    rows: int | None
    pass_open: bool
    dead_letters: int
    drift: int
    reread: int
    column_drift: int
    quarantined: int
    oldest_parent: datetime | None
    audited_at: datetime | None
    proven: bool | None
    readable: bool | None
    counted_at: datetime | None
    source_rows: int | None
    counted_rows: int | None
    last_run: LastRun | None

    @property
    def drifts(self) -> bool:
        """Whether windows miss changes: over a hundredth of what was read again had changed."""
        return self.drift * 100 > self.reread

    @property
    def counts_differ(self) -> bool:
        """Whether neither rows nor dead letters explain what `/count` said."""
        if self.source_rows is None or self.counted_rows is None:
            return False
        if self.complete_through is None and self.pass_open:
            return False  # counted ahead of a first load that has not come to its end
        return not 0 <= self.source_rows - self.counted_rows <= self.dead_letters


def entity_statuses(connection: Connection[Any], tenant: str) -> list[EntityStatus]:
    """Every entity that was ever touched, by name; none before `migrate`.

    Raises WarehouseError if the warehouse is at an older version.
    """
    if not _is_migrated(connection):
        return []
    if not _exists(connection, "cw_sync.lease"):
        raise WarehouseError(
            "the warehouse is at an older version: `migrate` upgrades it, and so does any sync"
        )
    dead = dead_runs(connection, tenant)
    values = {"tenant": tenant, "interrupted": list(_INTERRUPTED), "dead": dead}
    rows = connection.execute(_QUERY, values).fetchall()
    return [_status(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class ClockDisorder:
    """Clocks that disagreed lately: when that was last seen, which, by how much, what to do."""

    seen_at: datetime
    detail: str


def clock_disorder(connection: Connection[Any], tenant: str) -> ClockDisorder | None:
    """What the last 24 hours showed of clocks that disagree; None if they agreed."""
    if not _exists(connection, "cw_sync.clock_disorder"):
        return None
    row = connection.execute(
        "select seen_at, detail from cw_sync.clock_disorder where tenant = %s"
        " and seen_at > now() - interval '24 hours'",
        [tenant],
    ).fetchone()
    return ClockDisorder(*row) if row else None


def note_clock_disorder(connection: Connection[Any], tenant: str, detail: str) -> None:
    """Stores that clocks disagree, and how, for `status` and the check `clocks`."""
    connection.execute(
        "insert into cw_sync.clock_disorder (tenant, detail) values (%s, %s)"
        " on conflict (tenant) do update set seen_at = now(), detail = excluded.detail",
        [tenant, detail],
    )


def store_capability(
    connection: Connection[Any], tenant: str, entity: str, **seen: bool | None
) -> None:
    """Stores what a list was seen to do (readable, count, ...), where no run has found it out.

    A list that can be read is no longer taken for absent.
    """
    connection.execute(
        "insert into cw_sync.capability as c"
        " (tenant, entity, readable, count, filterable, forward_only, by_id)"
        " values (%(tenant)s, %(entity)s, %(readable)s, %(count)s, %(filterable)s,"
        " %(forward_only)s, %(by_id)s) on conflict (tenant, entity) do update set"
        " readable = coalesce(excluded.readable, c.readable),"
        " count = coalesce(excluded.count, c.count),"
        " filterable = coalesce(excluded.filterable, c.filterable),"
        " forward_only = coalesce(excluded.forward_only, c.forward_only),"
        " by_id = coalesce(excluded.by_id, c.by_id),"
        " detail = case when excluded.readable then '' else c.detail end, checked_at = now()",
        dict.fromkeys(("readable", "count", "filterable", "forward_only", "by_id"))
        | {"tenant": tenant, "entity": entity, **seen},
    )


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
    return bool(row and row[0])


def watermarks(connection: Connection[Any], tenant: str) -> dict[str, datetime | None]:
    """Up to when every change of an entity is in the warehouse; None before its first load."""
    rows = connection.execute(
        "select entity, watermark from cw_sync.checkpoint where tenant = %s", [tenant]
    )
    return dict(rows.fetchall())


def remember_wanted(connection: Connection[Any], tenant: str, names: Sequence[str]) -> None:
    """Stores which entities the settings keep up to date: the others leave `cw_sync.freshness`."""
    connection.execute(
        "update cw_sync.checkpoint set wanted = not wanted"
        " where tenant = %s and wanted <> (entity = any(%s))",
        [tenant, list(names)],
    )


def _is_migrated(connection: Connection[Any]) -> bool:
    return _exists(connection, "cw_sync.run")


def _exists(connection: Connection[Any], table: str) -> bool:
    row = connection.execute("select to_regclass(%s)", [table]).fetchone()
    return row is not None and row[0] is not None


def _status(*row: Any) -> EntityStatus:  # noqa: ANN401 - a row of the query above
    columns, run = row[:-10], row[-10:]
    return EntityStatus(*[*columns, None if run[0] is None else LastRun(*run)])


_WRITTEN = """
select relname, n_tup_ins + n_tup_upd from pg_stat_user_tables where schemaname = %(tenant)s
"""
_RUNNING = """
select r.entity, coalesce(c.row_count + coalesce(n.rows, 0), n.rows, 0),
       case when c.watermark is null and c.pass_until is not null and r.kind in ('refresh', 'full')
            then s.source_rows end,
       case when r.parents_due is not null then
            (select count(*) from cw_sync.parent_read p where p.tenant = r.tenant
             and p.entity = r.entity and p.read_at >= r.started_at) end,
       r.parents_due
from cw_sync.run r
left join cw_sync.checkpoint c using (tenant, entity)
left join cw_sync.source_count s using (tenant, entity)
left join lateral (
    select sum(change)::bigint as rows from cw_sync.row_change
    where tenant = r.tenant and entity = r.entity
) n on true
where r.tenant = %(tenant)s and r.status = 'started' and r.run_id > %(after)s order by r.run_id
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """An entity that is being read: live rows of its table, and of how many.

    `expected` is what `/count` said when a first load began; None for other runs, and where the
    list has no count or only a page. A list below a parent has the parents whose children were read
    and were due, unless it is one.
    """

    entity: str
    rows: int
    expected: int | None
    parents_read: int | None = None
    parents_due: int | None = None

    @property
    def share(self) -> tuple[int, int, str] | None:
        """How much is done, of how much, and of what; None where that is not known."""
        if self.parents_due is not None:
            return self.parents_read or 0, self.parents_due, "parent"
        if self.expected is not None:
            return self.rows, max(self.expected, self.rows), "row"
        return None


_WAITS = """
select greatest(
         0, extract(epoch from paused_until) - extract(epoch from clock_timestamp())
       )::float8,
       next_free > clock_timestamp()
from cw_sync.request_budget where tenant = %(tenant)s
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done now: which entities are being read, and rows written so far by table.

    `pause`: seconds for which ConnectWise has asked to be left alone. `budget_is_spent`: requests
    wait for each other, because as many are sent as CW_REQUESTS_PER_MINUTE allows.
    """

    running: list[Reading]
    written: dict[str, int]
    pause: float = 0.0
    budget_is_spent: bool = False


def last_run(connection: Connection[Any], before: float = 0) -> int:
    """The id of the newest run that had begun `before` seconds ago.

    0 before the first run, and before `migrate`.
    """
    if not _is_migrated(connection):
        return 0
    row = connection.execute(
        "select coalesce(max(run_id), 0) from cw_sync.run"
        " where started_at <= now() - make_interval(secs => %s)",
        [before],
    ).fetchone()
    return int(row[0]) if row else 0


def progress(connection: Connection[Any], tenant: str, after: int) -> Progress:
    """How the runs after run `after` come along, whichever process they run in."""
    if not _is_migrated(connection):
        return Progress([], {})
    running = connection.execute(_RUNNING, {"tenant": tenant, "after": after}).fetchall()
    written = connection.execute(_WRITTEN, {"tenant": tenant}).fetchall()
    waits = connection.execute(_WAITS, {"tenant": tenant}).fetchone()
    return Progress([Reading(*row) for row in running], dict(written), *(waits or ()))


def explain_silent_changes(standing: EntityStatus) -> str:
    """How many records changed without a stamp, and what helps."""
    return (
        f"{standing.drift:,} of {count(standing.reread, 'record')} read again in the last two"
        " weeks had changed although lastUpdated had not moved: a sync cannot see such changes. A"
        " lower CW_REREAD_NIGHTS finds them sooner,"
        f" `sync --full {standing.entity}` at once"
    )


def explain_count_difference(standing: EntityStatus) -> str:
    """What `/count` said beside the table, and what to do where they differ."""
    rows, letters = standing.counted_rows or 0, standing.dead_letters
    beside = f" and {count(letters, 'dead letter')}" if letters else ""
    counts = (
        f"/count said {standing.source_rows or 0:,} at {moment(standing.counted_at)},"
        f" when the table had {count(rows, 'row')}{beside}"
    )
    finds = f". `reconcile {standing.entity}` finds which"
    return counts + (finds if standing.counts_differ else "")


def latest_rows(
    connection: Connection[Any], tenant: str, entity: Entity, rows: int = 5
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The rows that changed last: keys and stamps alone, so nothing personal."""
    stamps = [column.name for column in entity.columns if column.name == "last_updated"]
    names = [*entity.key, *stamps, "_synced_at", "_deleted_at"]
    latest = stamps[0] if stamps else entity.key[-1]
    query = sql.SQL("select {} from {} order by {} desc nulls last limit {}").format(
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.Identifier(tenant, entity.table),
        sql.Identifier(latest),
        rows,
    )
    return names, connection.execute(query).fetchall()


@dataclass(frozen=True, slots=True)
class DeleteCandidate:
    """One such row: since when it is missed, and why it was kept. `parent_id` of a child."""

    entity: str
    record_id: int
    parent_id: int | None
    seen_at: datetime
    reason: str


def delete_candidates(
    connection: Connection[Any], tenant: str, entities: Sequence[str] | None = None
) -> list[DeleteCandidate]:
    """The rows kept of these entities; of all without them."""
    rows = connection.execute(
        "select entity, record_id, nullif(parent_id, 0), seen_at, reason"
        " from cw_sync.delete_candidate"
        " where tenant = %s and (%s::text[] is null or entity = any(%s))"
        " order by entity, parent_id, record_id",
        [tenant, entities, entities],
    )
    return [DeleteCandidate(*row) for row in rows]
