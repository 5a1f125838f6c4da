"""The merge: whatever the order, the newest version stays; what did not change is not touched."""

from __future__ import annotations

import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.model import Batch
    from cw_pipeline.warehouse import Database, MergeResult

TICKETS, SITES = CATALOG["service/tickets"], CATALOG["company/companies/sites"]
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2999, 1, 1, tzinfo=UTC)
Version = tuple[int, int]


def record(own: int, version: int, **fields: Any) -> dict[str, Any]:
    """Version `version` of a ticket: stamped that many minutes after noon, with as many fields."""
    stamp = (NOON + timedelta(minutes=version)).strftime("%Y-%m-%dT%H:%M:%SZ")
    custom = [{"id": at, "value": f"{version}"} for at in range(version % 4)]
    made = {"id": own, "summary": f"version {version}", "customFields": custom}
    return {**made, "_info": {"lastUpdated": stamp}, **fields}


def batch(*records: dict[str, Any], entity: Any = TICKETS, parent_id: int | None = None) -> Batch:
    return PageReader(entity).read_page(json.dumps(records).encode(), parent_id=parent_id)


def load(warehouse: Database, *records: dict[str, Any]) -> MergeResult:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        return hold.load(batch(*records))


def rows(connection: Connection[Any]) -> dict[int, dict[str, Any]]:
    connection.rollback()
    cursor = connection.cursor(row_factory=dict_row)
    found = cursor.execute("select *, ctid::text, xmin::text from connectwise.service_tickets")
    return {row["id"]: row for row in found}


def arrays(connection: Connection[Any]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    query = (
        "select parent_id, value #>> '{}' from connectwise.service_tickets__custom_fields"
        " where _deleted_at is null order by parent_id, position"
    )
    for parent, value in connection.execute(query):
        found[parent].append(value)
    return dict(found)


versions = st.tuples(st.integers(1, 4), st.integers(1, 5))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(versions, min_size=1, max_size=5), min_size=1, max_size=6))
def test_in_whatever_order_and_however_often_versions_come_the_newest_stays(
    warehouse: Database, connection: Connection[Any], batches: list[list[Version]]
) -> None:
    tables = "connectwise.service_tickets, connectwise.service_tickets__custom_fields"
    connection.execute(f"truncate {tables}".encode())
    connection.commit()
    newest: dict[int, int] = {}
    for some in batches:
        outcome = load(warehouse, *(record(*version) for version in some))
        assert outcome.inserted + outcome.updated + outcome.unchanged == len(some)
        for own, version in some:
            newest[own] = max(version, newest.get(own, 0))
    found = rows(connection)
    assert {own: row["summary"] for own, row in found.items()} == {
        own: f"version {version}" for own, version in newest.items()
    }
    assert arrays(connection) == {
        own: [f"{version}"] * (version % 4) for own, version in newest.items() if version % 4
    }


def test_a_row_that_did_not_change_is_not_rewritten(
    warehouse: Database, connection: Connection[Any]
) -> None:
    load(warehouse, record(1, 1), record(2, 1))
    before = rows(connection)
    outcome = load(warehouse, record(1, 1), record(2, 2))
    after = rows(connection)
    assert (outcome.inserted, outcome.updated, outcome.unchanged) == (0, 1, 1)
    assert after[1] == before[1]
    assert after[2]["_synced_at"] > before[2]["_synced_at"]


def test_an_older_version_never_replaces_a_newer_one(
    warehouse: Database, connection: Connection[Any]
) -> None:
    load(warehouse, record(1, 3))
    before = rows(connection)
    assert load(warehouse, record(1, 2)).unchanged == 1
    assert rows(connection) == before
    assert arrays(connection) == {1: ["3", "3", "3"]}


def test_a_version_of_the_same_second_replaces_the_one_before_it(
    warehouse: Database, connection: Connection[Any]
) -> None:
    load(warehouse, record(1, 3))
    assert load(warehouse, record(1, 3, summary="the same second")).updated == 1
    assert rows(connection)[1]["summary"] == "the same second"


def test_a_record_that_reappears_is_live_again_with_its_arrays(
    warehouse: Database, connection: Connection[Any]
) -> None:
    load(warehouse, record(1, 3), record(2, 3))
    with open_store(warehouse, TICKETS, "reconcile") as hold:
        assert (
            hold.soft_delete([1], before=NOON) == 0
        )  # written since: another run has just read it
        assert hold.soft_delete([1], before=LATER) == 1
        assert hold.soft_delete([1], before=LATER) == 0
    assert rows(connection)[1]["_deleted_at"] is not None
    assert set(arrays(connection)) == {2}
    outcome = load(warehouse, record(1, 3))
    assert (outcome.updated, outcome.undeleted) == (1, 1)
    assert rows(connection)[1]["_deleted_at"] is None
    assert arrays(connection)[1] == ["3", "3", "3"]


def test_an_older_copy_that_arrives_late_does_not_bring_a_deleted_record_back(
    warehouse: Database, connection: Connection[Any]
) -> None:
    load(warehouse, record(1, 3))
    with open_store(warehouse, TICKETS, "reconcile") as hold:
        assert hold.soft_delete([1], before=LATER) == 1
    assert load(warehouse, record(1, 2)).unchanged == 1
    assert rows(connection)[1]["_deleted_at"] is not None


def test_what_was_read_later_heals_a_row_with_a_newer_stamp(
    warehouse: Database, connection: Connection[Any]
) -> None:
    load(warehouse, record(1, 5))
    with open_store(warehouse, TICKETS, "reconcile") as hold:
        assert hold.load(batch(record(1, 2)), read_after=LATER).updated == 1
        assert hold.load(batch(record(1, 1)), read_after=NOON).updated == 0  # read before
    assert rows(connection)[1]["summary"] == "version 2"


def test_two_connections_that_merge_the_same_new_ids_at_once_both_succeed(
    warehouse: Database, connection: Connection[Any]
) -> None:
    together = Barrier(4)

    def merged(version: int) -> None:
        kind = ("refresh", "backfill", "reconcile", "replay")[version - 1]
        with open_store(warehouse, TICKETS, kind) as hold:
            together.wait(10)
            hold.load(batch(*(record(own, version) for own in range(1, 200))))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(merged, range(1, 5)))
    assert {row["summary"] for row in rows(connection).values()} == {"version 4"}


def test_two_runs_that_read_the_same_parents_children_at_once_both_succeed(
    warehouse: Database, connection: Connection[Any]
) -> None:
    together = Barrier(2)

    def merged(kind: str) -> None:
        sites = [{"id": own, "name": kind, "customFields": [{"id": 1}]} for own in range(1, 200)]
        with open_store(warehouse, SITES, kind) as hold:
            for _ in range(3):
                together.wait(10)
                some = batch(*sites, entity=SITES, parent_id=7)
                hold.load(some, parent_id=7, alone=False)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(merged, ("refresh", "backfill")))
    found = connection.execute("select count(*) from connectwise.company_companies_sites")
    assert found.fetchone() == (199,)


def test_a_child_is_known_by_its_parent_too(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, SITES, "refresh") as hold:
        for parent in (1, 2):
            site = {"id": 5, "name": f"of {parent}"}
            hold.load(batch(site, entity=SITES, parent_id=parent), parent_id=parent, alone=False)
        assert hold.soft_delete([5], 1, before=LATER) == 1
    found = connection.execute(
        "select parent_id, name from connectwise.company_companies_sites where _deleted_at is null"
    )
    assert found.fetchall() == [(2, "of 2")]


@pytest.mark.parametrize("heavy", [1, 5000])
def test_texts_numbers_and_times_come_out_as_they_went_in(
    warehouse: Database, connection: Connection[Any], heavy: int
) -> None:
    text = 'tab\t, newline\n, backslash\\, quote", ø, 漢字, 🙂 ' * heavy
    numbers = '"budgetHours": 1234567890123456.7800, "actualHours": -0.10'
    unknown = '"futureField": {"b": 1.50, "a": [null]}'
    info = '"_info": {"lastUpdated": "2025-03-01T12:00:00Z"}'
    whole = f'"id": 9223372036854775807, "summary": {json.dumps(text)}'
    body = f"[{{{whole}, {numbers}, {unknown}, {info}}}]"
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.load(PageReader(TICKETS).read_page(body.encode()))
    (row,) = rows(connection).values()
    assert row["id"] == 2**63 - 1
    assert row["summary"] == text
    assert str(row["budget_hours"]) == "1234567890123456.7800"
    assert str(row["actual_hours"]) == "-0.10"
    assert row["last_updated"] == NOON
    assert row["_extra"] == {"futureField": {"a": [None], "b": 1.5}}
