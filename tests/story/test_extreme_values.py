"""No view of the reporting schema fails for a value that was loaded, however extreme it is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from msgspec import Raw

from cw_pipeline.catalog import CATALOG
from cw_pipeline.model import LAST_UPDATED, Kind
from cw_pipeline.reporting import entities, publish
from cw_pipeline.reporting.script import scripts
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from tests.unit.sent import put

if TYPE_CHECKING:
    from cw_pipeline.model import Entity
    from cw_pipeline.simulator import Tenant
    from tests.story.conftest import Story

TEXTS = ("x" * 10_000, "", "% ' \" \\ {}")
NUMBERS = (Raw(b"1e15000"), Raw(b"-1e15000"), Raw(b"1e-15000"))
FLAGS = (True, False, None)
ALL_EXTREME = {
    Kind.BIGINT: (2**63 - 1, -(2**63), 0),
    Kind.TIMESTAMPTZ: ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", None),
    Kind.DATE: ("9999-12-31", "0001-01-01", None),
}


def values_of(tenant: Tenant, *, joined: bool) -> dict[Kind, tuple[Any, ...]]:
    """By kind. `joined`: records of these days that refer to each other, with extreme numbers."""
    days = [tenant.now() - timedelta(days=age) for age in (40, 3, 0)]
    near = {
        Kind.BIGINT: (1, 2, 3),
        Kind.TIMESTAMPTZ: tuple(day.isoformat() for day in days),
        Kind.DATE: tuple(day.date().isoformat() for day in days),
    }
    others = {Kind.NUMERIC: NUMBERS, Kind.BOOLEAN: FLAGS, Kind.TEXT: TEXTS, Kind.JSONB: TEXTS}
    return others | (near if joined else ALL_EXTREME)


_INFO = (LAST_UPDATED, ("_info", "updatedBy"))


def record(entity: Entity, own: int, values: dict[Kind, tuple[Any, ...]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for at, column in enumerate(entity.columns):
        if column.path != ("id",) and column.path not in _INFO:
            turn = at if column.kind in (Kind.BOOLEAN, Kind.NUMERIC) else 0
            put(made, column.path, values[column.kind][(own - 1 + turn) % 3])
    return made | {"id": own}


@pytest.mark.parametrize("joined", [False, True], ids=["extreme", "joined"])
def test_every_view_shows_the_most_extreme_values(
    story: Story, tenant: Tenant, *, joined: bool
) -> None:
    wanted = entities()
    values = values_of(tenant, joined=joined)
    for entity in wanted:
        above = "" if entity.parent is None else CATALOG[entity.parent].path
        if above.count("{"):
            continue
        for own in (1, 2, 3):
            path = entity.path.replace("{parentId}", str(own))
            tenant.put(path, record(entity, own, values))
    names = ",".join(entity.name for entity in wanted)
    with story.engine(entities=names) as engine:
        reports = list(sync_entities(wanted, engine, SyncRequest()))
    assert [(r.entity, str(r.failure)) for r in reports if r.failure] == []
    publish(story.dsn, "connectwise")
    broken, empty = {}, 0
    with psycopg.connect(story.dsn, autocommit=True) as connection:
        for script in scripts():
            query = f"select count(v::text) from reporting.{script.name} v"  # noqa: S608
            try:
                ((rows,),) = connection.execute(query.encode()).fetchall()
            except psycopg.Error as error:
                broken[script.name] = str(error).splitlines()[0]
            else:
                empty += rows == 0
    assert broken == {}
    assert empty < len(scripts()) / 3
