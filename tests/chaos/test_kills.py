"""A worker that is killed before any one of its statements loses nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG
from cw_pipeline.live.hints import Hint, put_hints
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from tests.chaos.doomed import drain_and_die, sync_and_die
from tests.chaos.histories import new_world
from tests.chaos.people import TICKETS as PATH
from tests.chaos.proof import differences
from tests.chaos.world import TICKETS, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.dev import EmbeddedPostgres

NEVER = 100_000  # statements
RECORDS = 9  # pages of 4: a whole one, another, and a short one


@pytest.fixture
def world(ground: EmbeddedPostgres) -> Iterator[World]:
    with new_world(ground, 0) as world:
        for own in list(world.simulator.tenant.records(PATH)):
            world.simulator.tenant.delete(PATH, own)
        yield world


def synced(world: World) -> None:
    (report,) = world.run(lambda engine: sync_entities([CATALOG[TICKETS]], engine, SyncRequest()))
    assert report.failure is None


def left(world: World) -> dict[tuple[str, int], str]:
    with psycopg.connect(world.dsn, row_factory=dict_row) as connection:
        return differences(world, connection, CATALOG[TICKETS])


@pytest.mark.timeout(300, func_only=True)  # a worker and a sync for each of its statements
def test_a_refresh_killed_before_any_of_its_statements_is_made_good_by_the_next(
    world: World,
) -> None:
    """An hour passes before each: no overlap may hide what the killed one skipped."""
    tenant = world.simulator.tenant
    synced(world)
    for statement in itertools.count(1):
        for own in range(1, RECORDS + 1):
            tenant.put(PATH, {"id": own, "summary": f"round {statement}"})
        world.wait(3600)
        code = sync_and_die(world.options(), [TICKETS], statement, world.passed)
        synced(world)
        assert left(world) == {}, f"killed before statement {statement}"
        if code == 0:
            break
    assert statement > 20


@pytest.mark.timeout(300, func_only=True)
def test_reading_hints_killed_before_any_statement_leaves_every_hint_to_the_next(
    world: World,
) -> None:
    tenant = world.simulator.tenant
    tenant.put(PATH, {"id": 1, "summary": "first"})
    synced(world)
    for statement in itertools.count(1):
        world.wait(3600)
        hint = Hint("connectwise", "ticket", 1, "updated", tenant.now())
        tenant.edit(PATH, 1, summary=f"round {statement}")  # after it: stamps are whole seconds
        with psycopg.connect(world.dsn) as connection:
            put_hints(connection, [hint])
        code = drain_and_die(world.options(), [TICKETS], statement, world.passed)
        if code != 0:
            assert drain_and_die(world.options(), [TICKETS], NEVER, world.passed) == 0
        assert not hinted(world)
        assert left(world) == {}, f"killed before statement {statement}"
        if code == 0:
            break
    assert statement > 10


def hinted(world: World) -> bool:
    with psycopg.connect(world.dsn) as connection:
        return connection.execute("select from cw_sync.hint").fetchone() is not None


def test_a_first_load_killed_again_and_again_comes_to_its_end(world: World) -> None:
    """Each try gets a little further, in ranges of ids read side by side."""
    tenant = world.simulator.tenant
    for own in range(1, 61):
        tenant.put(PATH, {"id": own, "summary": "first"})
    world.wait(3600)
    tries = 0
    while sync_and_die(world.options(), [TICKETS], 50, world.passed) == -9:
        tries += 1
        assert tries < 20, "a killed load must not begin anew each time"
    assert tries > 1
    assert left(world) == {}
