"""Row counts are kept, not counted: they are right all the same, whatever comes between."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import EntityBusy
from cw_pipeline.model import Checkpoint, IdRange, Window
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse import open_store

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.model import Batch
    from cw_pipeline.warehouse import Database

TICKETS, SITES = CATALOG["service/tickets"], CATALOG["company/companies/sites"]
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
OPEN = Checkpoint(None, Window(None, NOON))
LATER = datetime(2999, 1, 1, tzinfo=UTC)

ids = st.lists(st.integers(1, 12), min_size=1, max_size=6, unique=True)
steps = st.one_of(
    st.tuples(st.sampled_from(["load", "delete", "cut off"]), ids),
    st.tuples(st.sampled_from(["ask", "begin"]), st.just([])),
)


def batch(version: int, some: list[int]) -> Batch:
    stamp = (NOON + timedelta(minutes=version)).strftime("%Y-%m-%dT%H:%M:%SZ")
    records = [{"id": own, "_info": {"lastUpdated": stamp}} for own in some]
    return PageReader(TICKETS).read_page(json.dumps(records).encode())


def live(connection: Connection[Any]) -> int:
    connection.rollback()
    query = "select count(*) from connectwise.service_tickets where _deleted_at is null"
    (found,) = connection.execute(query).fetchone() or (None,)
    assert isinstance(found, int)
    return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(steps, min_size=1, max_size=12))
def test_after_any_loads_deletions_returns_and_crashes_the_count_is_that_of_the_rows(
    warehouse: Database, connection: Connection[Any], history: list[tuple[str, list[int]]]
) -> None:
    connection.execute(
        "truncate connectwise.service_tickets, cw_sync.row_change, cw_sync.checkpoint"
    )
    connection.commit()
    with open_store(warehouse, TICKETS, "refresh") as hold:
        for version, (what, some) in enumerate(history):
            if what == "load":
                hold.load(batch(version, some))
            elif what == "delete":
                hold.soft_delete(some, before=LATER)
            elif what == "cut off":  # taken back with its rows: another run owns the pass
                with pytest.raises(EntityBusy):
                    hold.load(batch(version, some), IdRange(77, 88, 78))
            elif what == "begin":
                hold.save_checkpoint(OPEN)
                hold.row_count()
                connection.execute("update cw_sync.checkpoint set run_id = null")
                connection.commit()
            else:
                assert hold.row_count() == live(connection)
        assert hold.row_count() == live(connection)


def test_side_by_side_no_row_is_forgotten(warehouse: Database, connection: Connection[Any]) -> None:
    with (
        open_store(warehouse, TICKETS, "refresh") as one,
        open_store(warehouse, TICKETS, "backfill") as other,
        ThreadPoolExecutor(4) as threads,
    ):
        one.save_checkpoint(OPEN)
        one.row_count()
        loads = [
            threads.submit(hold.load, batch(at, [*range(at * 10, at * 10 + 10)]), alone=False)
            for at, hold in enumerate([one, other] * 10)
        ]
        asked = [threads.submit(hold.row_count) for hold in (one, other) * 5]
        for task in (*loads, *asked):
            task.result()
        assert one.row_count() == live(connection) == 200


def test_a_million_rows_are_not_counted_again_for_one(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.save_checkpoint(OPEN)
        hold.row_count()
        hold.load(batch(1, [1, 2, 3]))
        connection.execute("delete from connectwise.service_tickets where id = 1")  # by hand
        connection.commit()
        hold.load(batch(2, [4]))
        assert hold.row_count() == 4, "it was counted"
        assert hold.count_rows() == 3
        assert hold.row_count() == 3


def test_children_that_go_with_their_parent_are_taken_off(
    warehouse: Database, connection: Connection[Any]
) -> None:
    companies = CATALOG["company/companies"]
    connection.execute("insert into connectwise.company_companies (id) values (7)")
    connection.commit()
    records = json.dumps([{"id": own} for own in (1, 2, 3)]).encode()
    with open_store(warehouse, SITES, "refresh") as hold:
        hold.load(PageReader(SITES).read_page(records, parent_id=7), parent_id=7)
        assert hold.row_count() == 3
        hold.save_checkpoint(Checkpoint(NOON))
        connection.execute("update connectwise.company_companies set _deleted_at = now()")
        connection.commit()
        assert hold.delete_orphans(companies) == 3
        assert hold.row_count() == 0
