"""Every field of every record of a tenant is in the warehouse, under the name the rule gives it.

What is expected is worked out from the records and the naming rule alone: not from the catalog.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.catalog.naming import snake, table_name
from cw_pipeline.simulator import Simulator
from cw_pipeline.simulator.seed import seed_tenant
from tests.story.conftest import Story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.model import SyncResult
    from cw_pipeline.simulator import Tenant

CORE = [entity.name for entity in select("core")]
NOW = datetime(2025, 6, 2, 15, tzinfo=UTC)


def leaves(record: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """(path, value) of everything in a record but links, nulls and what references copy."""
    for key, value in record.items():
        path = (*above, key)
        if value is None or key.lower().endswith("href") or (key == "_info" and above):
            continue
        if isinstance(value, dict) and len(path) < 3:
            yield from leaves(value, path)
        else:
            yield path, value


def names(path: tuple[str, ...]) -> list[str]:
    """The name the rule gives a field, and the one it gets where that is taken."""
    steps = [snake(step) for step in path if step != "_info"]
    plain = "_".join(steps)
    *before, last = plain.split("_")
    return [plain, "_".join([*steps[:-1], "ref", steps[-1]]), "_".join([*before, "ref", last])]


def same(stored: Any, value: Any) -> bool:
    """Whether a stored value is what the record said, in its own type."""
    if isinstance(value, bool) or stored is None:
        return stored is value
    if isinstance(stored, Decimal):
        return stored == Decimal(str(value))
    if isinstance(stored, datetime):
        return stored == datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(stored, date):
        return value in (stored.isoformat(), f"{stored.isoformat()}T00:00:00Z")
    return bool(stored == value)


def is_in(row: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    if any(same(row[name], value) for name in names(path) if name in row):
        return True
    extra: Any = row["_extra"] or {}
    for key in path:
        extra = extra.get(key) if isinstance(extra, dict) else None
    return bool(extra == value)


def lists(tenant: Tenant, path: str) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """(parent id, record) of everything at a path."""
    if "{" not in path:
        yield from ((None, record) for record in tenant.records(path).values())
        return
    above = path.strip("/").split("/").index("{parentId}")
    for one in tenant.children(path):
        parent = int(one.path.strip("/").split("/")[above])
        yield from ((parent, record) for record in one)


@pytest.fixture(scope="module")
def tenant() -> Tenant:
    """A service provider with a past; nobody changes it here."""
    return seed_tenant(tickets=40, now=NOW)


@pytest.fixture
def story(dsn: str, tenant: Tenant) -> Iterator[Story]:
    with Simulator(tenant) as simulator:
        yield Story(dsn, simulator, tenant)


def synced(story: Story) -> dict[str, SyncResult]:
    reports = story.sync(*CORE)
    failed = [str(report.failure) for report in reports.values() if report.failure]
    assert failed == []
    return reports


def missing_of(story: Story, tenant: Tenant, name: str) -> list[Any]:
    """What of an entity's records is not in its tables."""
    entity = CATALOG[name]
    table = table_name(entity.path)
    rows: dict[Any, Any] = {}
    for row in story.rows(f"select * from connectwise.{table} where _deleted_at is null"):  # noqa: S608
        rows[row.get("parent_id") if entity.parent else None, row["id"]] = row
    arrays: dict[str, dict[Any, Any]] = {}
    missing: list[Any] = []
    count = 0
    for parent, record in lists(tenant, entity.path):
        count += 1
        row = rows.get((parent, record["id"]))
        if row is None:
            missing.append((name, parent, record["id"]))
            continue
        for path, value in leaves(record):
            if not is_in(row, path, value):
                missing += _missing_array(story, arrays, table, record["id"], path, value)
    if count != len(rows):
        missing.append((name, count, len(rows)))
    return missing


def _missing_array(
    story: Story, arrays: dict[str, Any], table: str, own: int, path: tuple[str, ...], value: Any
) -> list[Any]:
    """What of an array of objects is not in the table of its name."""
    if not isinstance(value, list) or len(path) > 1:
        return [(table, own, path, value)]
    if not value:
        return []
    name = f"{table}__{snake(path[0])}"
    if name not in arrays:
        try:
            found = story.rows(f"select * from connectwise.{name} where _deleted_at is null")  # noqa: S608
        except Exception:  # noqa: BLE001 - no such table is what is missing
            return [(name, own, path, value)]
        arrays[name] = {(row["parent_id"], row["position"]): row for row in found}
    missing: list[Any] = []
    for position, element in enumerate(value):
        row = arrays[name].get((own, position))
        missing += [
            (name, own, position, inner, each)
            for inner, each in leaves(element)
            if not (row and is_in(row, inner, each))
        ]
    return missing


def test_every_field_of_every_core_record_is_in_the_warehouse(story: Story, tenant: Tenant) -> None:
    synced(story)
    missing = [each for name in CORE for each in missing_of(story, tenant, name)]
    assert missing == []
    assert sum(1 for name in CORE for _ in lists(tenant, CATALOG[name].path)) > 1000
    assert story.rows("select * from cw_sync.dead_letter") == []


def test_a_sync_with_nothing_new_asks_each_list_twice_at_most(story: Story, tenant: Tenant) -> None:
    synced(story)
    synced(story)
    tenant.advance(3600)
    story.simulator.requests.clear()
    reports = synced(story)
    assert {name: report.requests for name, report in reports.items() if report.requests > 2} == {}
    assert {name for name, report in reports.items() if report.rows_updated} == set()
    by_path = story.simulator.count_by_path()
    assert {path: count for path, count in by_path.items() if count > 2} == {}
    assert len(story.simulator.requests) <= 2 * len(CORE) + 1


def test_a_text_that_is_called_last_updated_is_no_stamp(story: Story, tenant: Tenant) -> None:
    """Compared with one, its row would be written anew at every pass."""
    tenant.put("/system/ssoUsers", {"id": 1, "lastUpdated": "some day in May"})
    assert story.one("system/ssoUsers").rows_inserted == 1
    again = story.one("system/ssoUsers")
    assert (again.rows_updated, again.rows_unchanged) == (0, 1)
