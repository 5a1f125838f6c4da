"""What must hold at any time of a history, and when all is quiet again."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from cw_pipeline.catalog import CATALOG
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.sync.reconcile import reconcile_all, reread_all
from tests.chaos.truth import expected_arrays, expected_row, spoilt
from tests.chaos.world import ADDITIONS, AGREEMENTS, OVERLAP, TICKETS, entities

if TYPE_CHECKING:
    from cw_pipeline.model import Entity
    from tests.chaos.people import Key
    from tests.chaos.world import World

_PARTS = ("rows_inserted", "rows_updated", "rows_unchanged", "dead_letters")


def check_always(world: World) -> None:
    """Runs add up; what differs is a dead letter, too new, or what no stamp betrays."""
    with world.look() as connection:
        for run in connection.execute("select * from cw_sync.run where status = 'done'"):
            assert run["rows_read"] == sum(run[part] for part in _PARTS), run
        for name in (name for name in (TICKETS, AGREEMENTS) if name in world.names):
            _check_accounted(world, connection, CATALOG[name])


def _check_accounted(world: World, connection: Any, entity: Entity) -> None:
    stored = connection.execute(
        "select watermark_at from cw_sync.checkpoint where entity = %s and watermark is not null",
        [entity.name],
    ).fetchone()
    if stored is None or stored["watermark_at"] is None:
        return
    covered = stored["watermark_at"] - timedelta(seconds=OVERLAP)
    letters = _open_letters(connection, entity)
    excused = world.people.silent | world.people.restored | world.people.misdated
    for key, why in differences(world, connection, entity).items():
        if key in excused or key[1] in letters or key in world.people.gone:
            continue
        at = world.people.changed_at[key]
        assert at >= covered, f"{key} {why}, changed at {at}, covered through {covered}"


def check_when_quiet(world: World) -> None:
    """Faults are over: one pass and a reconcile, and the warehouse is what the tenant is."""
    world.calm()
    world.simulator.clock_skew = 0
    world.people.set_clock(0)
    world.wait(3600)
    _pass(world)
    check_always(world)
    with world.look() as connection:
        for name in (name for name in (TICKETS, AGREEMENTS) if name in world.names):
            records = world.simulator.tenant.records(f"/{name}")
            bad = {own for own, record in records.items() if spoilt(record)}
            bad -= {own for path, own in world.people.misdated if path == f"/{name}"}
            assert bad <= _open_letters(connection, CATALOG[name]), "a reject has no letter"
    if world.people.mend():
        _pass(world)
    _reconcile(world)
    _check_equal(world, but=world.people.silent)
    assert all(audit.proven for audit in _reconcile(world)), "equal, and not proven"
    if world.people.silent:
        world.run(lambda engine: reread_all(entities(world.names), engine, nights=1))
        _check_equal(world, but=set())
    if _letters(world):
        _due(world)
        _pass(world)
        _check_equal(world, but=set())
        assert _letters(world) == [], "letters stay open although nothing is wrong"
    check_always(world)


def check_one_quiet_sync_makes_equal(world: World) -> None:
    """Nothing was deleted or changed silently: no reconcile is needed."""
    world.wait(3600)
    _pass(world, children_max_age_hours=1e-6)  # of every parent
    _check_equal(world, but=set())


_LEFT = """
select 'lease of ' || entity from cw_sync.lease
union all select 'open run of ' || entity from cw_sync.run where status = 'started'
union all select 'dead letter of ' || entity from cw_sync.open_dead_letter
union all select 'open pass of ' || entity from cw_sync.checkpoint where pass_until is not null
union all select 'range of ' || entity from cw_sync.id_range
union all select 'candidate of ' || entity from cw_sync.delete_candidate
union all select 'passing table ' || relname from pg_class where relpersistence <> 'p'
union all select 'prepared transaction ' || gid from pg_prepared_xacts
union all select 'lock ' || locktype from pg_locks l where pid <> pg_backend_pid()
    and database = (select oid from pg_database where datname = current_database())
    and not exists (select from pg_stat_activity a
        where a.pid = l.pid and a.backend_type = 'autovacuum worker')
union all select 'session in ' || coalesce(state, '?') from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
        and backend_type <> 'autovacuum worker'
"""


def check_nothing_is_left(world: World) -> None:
    """No session, lock, lease, open run or pass, nor a table that was made for a run."""
    until = time.monotonic() + 10
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        # Sessions that were just closed take a moment.
        while (left := connection.execute(_LEFT).fetchall()) and time.monotonic() < until:
            time.sleep(0.05)
    assert left == [], left


def _pass(world: World, **options: Any) -> None:
    for report in world.run(
        lambda engine: sync_entities(entities(world.names), engine, SyncRequest()), **options
    ):
        assert report.failure is None, f"a quiet pass failed: {report.failure}"


def _reconcile(world: World) -> list[Any]:
    chosen = entities(world.names)
    audits = world.run(lambda engine: reconcile_all(chosen, engine, apply_deletes=True))
    for audit in audits:
        assert audit.failure is None, f"a quiet reconcile failed: {audit.failure}"
    return audits


def _letters(world: World) -> list[Any]:
    with world.look() as connection:
        return connection.execute("select * from cw_sync.open_dead_letter").fetchall()


def _due(world: World) -> None:
    with world.look() as connection:
        connection.execute("update cw_sync.dead_letter set retry_at = now() - interval '1 day'")


def _check_equal(world: World, but: set[Key]) -> None:
    with world.look() as connection:
        for name in world.names:
            found = differences(world, connection, CATALOG[name])
            left = {key: why for key, why in found.items() if key not in but}
            assert left == {}, f"{name} differs: {left}"


def _open_letters(connection: Any, entity: Entity) -> set[int]:
    found = connection.execute(
        "select record_id from cw_sync.open_dead_letter where entity = %s", [entity.name]
    )
    return {row["record_id"] for row in found}


def differences(world: World, connection: Any, entity: Entity) -> dict[Key, str]:
    """Where table and tenant differ, field by field: why, by list and id."""
    rows = {
        (_path(entity, row.get("parent_id")), row["id"]): row
        for row in _live(connection, entity.table)
    }
    arrays = _stored_arrays(connection, entity)
    truth = {
        (path, own): record
        for path in world.people.lists()
        if _covers(entity, path)
        for own, record in world.simulator.tenant.records(path).items()
    }
    found = dict.fromkeys(rows.keys() - truth.keys(), "is not in the tenant")
    for key, record in truth.items():
        if spoilt(record):
            found[key] = "is spoilt"
        elif key not in rows:
            found[key] = "is not in the warehouse"
        elif wrong := _wrong(entity, record, rows[key], arrays):
            found[key] = wrong
    return found


def _wrong(
    entity: Entity, record: dict[str, Any], row: dict[str, Any], arrays: dict[Any, Any]
) -> str:
    wanted = expected_row(entity, record)
    wrong = [
        f"{name}: {row[name]!r} is not {value!r}"
        for name, value in wanted.items()
        if row[name] != value
    ]
    for table, items in expected_arrays(entity, record).items():
        columns = {column.name for a in entity.arrays if a.table == table for column in a.columns}
        stored = arrays.get((table, record["id"]), [])
        kept = [{name: row[name] for name in row if name in columns} for row in stored]
        if kept != items:
            wrong.append(f"{table}: {kept} is not {items}")
    return "; ".join(wrong)


def _stored_arrays(connection: Any, entity: Entity) -> dict[tuple[str, int], list[Any]]:
    found: dict[tuple[str, int], list[Any]] = {}
    for array in entity.arrays:
        for row in sorted(_live(connection, array.table), key=lambda own: own["position"]):
            found.setdefault((array.table, row["parent_id"]), []).append(row)
    return found


def _live(connection: Any, table: str) -> list[dict[str, Any]]:
    query = sql.SQL("select * from connectwise.{} where _deleted_at is null")
    rows: list[dict[str, Any]] = connection.execute(query.format(sql.Identifier(table))).fetchall()
    return rows


def _path(entity: Entity, parent_id: int | None) -> str:
    return entity.path.replace("{parentId}", str(parent_id))


def _covers(entity: Entity, path: str) -> bool:
    return path.endswith("/additions") if entity.name == ADDITIONS else path == entity.path
