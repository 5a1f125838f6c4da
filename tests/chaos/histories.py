"""Histories by seed: a world, so many things that happen to it, and the proof at the end."""

from __future__ import annotations

import random
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import stamina
from psycopg import sql

from cw_pipeline.simulator import Simulator, Tenant
from tests.chaos.proof import check_always, check_when_quiet
from tests.chaos.server_faults import ServerFaults
from tests.chaos.world import World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from cw_pipeline.dev import EmbeddedPostgres


@contextmanager
def new_world(
    ground: EmbeddedPostgres, seed: int, tablespace: str | None = None
) -> Iterator[World]:
    """A tenant with some records and an empty warehouse. `ground` holds the migrated template."""
    name = f"chaos_{secrets.token_hex(6)}"
    place = f" tablespace {tablespace}" if tablespace else ""
    _administer(ground, f"create database {{}} template chaos owner cw_pipeline{place}", name)
    tenant = Tenant()
    try:
        with (
            Simulator(tenant, seed=seed) as simulator,
            stamina.set_testing(True, attempts=4, cap=True),
        ):
            world = World(ground.dsn(name), simulator, ground, random.Random(seed))  # noqa: S311
            for _ in range(world.dice.randrange(5, 40)):
                world.people.create()
            yield world
    finally:
        _administer(ground, "drop database {} with (force)", name)


def _administer(ground: EmbeddedPostgres, statement: str, name: str) -> None:
    with psycopg.connect(ground.admin_dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def history(ground: EmbeddedPostgres, seed: int, steps: int = 20) -> Counter[str]:
    """Lives through a history and proves its end: what struck, by kind."""
    with new_world(ground, seed) as world:
        people = world.people
        happenings = {
            people.create: 6,
            people.edit: 8,
            lambda: people.create(late=True): 2,
            lambda: people.edit(late=True): 3,
            people.edit_silently: 2,
            people.delete: 3,
            people.restore: 1,
            people.spoil: 2,
            world.pass_time: 5,
            world.skew: 3,
            world.set_source_clock: 2,
            world.fault: 7,
            world.calm: 3,
            world.sync: 9,
            world.live_on: 3,
            world.something: 4,
            world.at_once: 2,
            world.kill_worker: 3,
            world.kill_postgres: 1,
            ServerFaults(world).strike_mildly: 2,
        }
        for happen in world.dice.choices([*happenings], [*happenings.values()], k=steps):
            happen()
            check_always(world)
        check_when_quiet(world)
        return world.struck
