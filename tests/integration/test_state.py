"""What is remembered beside the data: checkpoints, dead letters, drift. One fact with the rows."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from time import sleep
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import EntityBusy, WarehouseError
from cw_pipeline.model import Checkpoint, ClockStep, IdRange, Reject, SchemaDrift, Window
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse import EntityStore, open_store

if TYPE_CHECKING:
    from psycopg import Connection

    from cw_pipeline.model import Batch
    from cw_pipeline.warehouse import Database

TICKETS, SITES = CATALOG["service/tickets"], CATALOG["company/companies/sites"]
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
OPEN = Checkpoint(None, Window(None, NOON))


def batch(*records: Any) -> Batch:
    return PageReader(TICKETS).read_page(json.dumps(records).encode())


def good(*ids: int) -> Batch:
    return batch(*({"id": own, "summary": "good"} for own in ids))


def bad(*ids: int) -> Batch:
    return batch(*({"id": own, "summary": ["bad"]} for own in ids))


def asked(connection: Connection[Any], query: str) -> list[dict[str, Any]]:
    connection.rollback()
    return connection.cursor(row_factory=dict_row).execute(query.encode()).fetchall()


def letters(connection: Connection[Any]) -> list[dict[str, Any]]:
    return asked(connection, "select * from cw_sync.dead_letter order by id")


def row_count(connection: Connection[Any]) -> int:
    return int(asked(connection, "select count(*) n from connectwise.service_tickets")[0]["n"])


def as_stored(store: EntityStore) -> Checkpoint:
    """The checkpoint, read anew."""
    return EntityStore(store._database, TICKETS, store.run_id).checkpoint


def test_a_checkpoint_is_read_as_it_was_written(warehouse: Database) -> None:
    ranges = (IdRange(500, 900, 700), IdRange(100, 500, 100))
    step = ClockStep(NOON - timedelta(2), NOON)
    window, tail = Window(NOON, NOON + timedelta(1), NOON), IdRange(0, None, 900)
    stored = Checkpoint(NOON, window, tail, ranges, NOON, step)
    with open_store(warehouse, TICKETS, "refresh") as hold:
        assert as_stored(hold) == Checkpoint()
        hold.save_checkpoint(stored)
        assert as_stored(hold) == stored
        hold.save_checkpoint(stored.close_pass())
        assert as_stored(hold) == Checkpoint(NOON + timedelta(1), watermark_at=NOON)


def test_a_batch_and_the_cursor_that_covers_it_are_stored_together(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.save_checkpoint(OPEN)
        hold.load(good(1, 2), IdRange(0, None, 2))
        assert as_stored(hold).tail.cursor == 2
    assert row_count(connection) == 2


def test_a_run_whose_pass_was_taken_over_stores_neither_rows_nor_cursor(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as first:
        first.save_checkpoint(OPEN)
    with open_store(warehouse, TICKETS, "refresh") as second:
        second.save_checkpoint(OPEN)
        with pytest.raises(EntityBusy):
            first.load(good(1, 2), IdRange(0, None, 2))
        with pytest.raises(EntityBusy):
            first.load(good(1, 2), IdRange(0, 10, 2))
        assert as_stored(second) == OPEN
    assert row_count(connection) == 0


@pytest.mark.parametrize(
    "lock",
    [
        "select from cw_sync.checkpoint for update",
        "lock table connectwise.service_tickets in share mode",
    ],
)
def test_a_connection_that_breaks_in_the_middle_stores_neither_rows_nor_cursor(
    warehouse: Database, connection: Connection[Any], lock: str
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.save_checkpoint(OPEN)
        # The load waits for the checkpoint, or to insert its rows, when its connection is cut.
        connection.execute(lock.encode())
        failures: list[Exception] = []

        def loading() -> None:
            try:
                hold.load(good(1, 2), IdRange(0, None, 2))
            except WarehouseError as error:
                failures.append(error)

        thread = Thread(target=loading)
        thread.start()
        killed = None
        while killed is None:
            sleep(0.02)
            killed = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where wait_event_type = 'Lock' and datname = current_database()"
            ).fetchone()
        thread.join(10)
        assert len(failures) == 1
        connection.rollback()
        assert as_stored(hold) == OPEN
        assert row_count(connection) == 0
        hold.load(good(1, 2), IdRange(0, None, 2))
    assert row_count(connection) == 2


def test_a_range_moves_its_own_cursor_only(warehouse: Database) -> None:
    one, two = IdRange(0, 50, 0), IdRange(50, 100, 50)
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.save_checkpoint(replace(OPEN, tail=IdRange(0, None, 100), ranges=(two, one)))
        hold.load(good(7), one.advanced_to(7), alone=False)
        found = as_stored(hold)
        assert (found.tail.cursor, found.ranges) == (100, (two, IdRange(0, 50, 7)))
        hold.finish_range(two)
        assert as_stored(hold).ranges == (IdRange(0, 50, 7),)
        hold.split_range((IdRange(0, 25, 7), IdRange(25, 50, 25)))
        assert as_stored(hold).ranges == (IdRange(25, 50, 25), IdRange(0, 25, 7))
    with open_store(warehouse, TICKETS, "refresh") as other:
        other.save_checkpoint(as_stored(other))
        with pytest.raises(EntityBusy):
            hold.split_range((IdRange(25, 40, 25), IdRange(40, 50, 40)))
        assert as_stored(other).ranges == (IdRange(25, 50, 25), IdRange(0, 25, 7))


def test_a_reject_is_kept_whole_and_counted_each_time_it_comes(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.load(bad(3))
        (first,) = letters(connection)
        hold.load(bad(3))
    (letter,) = letters(connection)
    assert (letter["record_id"], letter["attempts"], letter["reason"]) == (3, 2, "does not convert")
    assert letter["payload"] == {"id": 3, "summary": ["bad"]}
    assert letter["first_seen"] == first["first_seen"]
    assert letter["retry_at"] > first["retry_at"]


def test_a_dead_letter_closes_when_a_good_copy_comes_and_another_opens_later(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.load(bad(3, 4))
        hold.load(good(3))
        assert [each["resolved_at"] is None for each in letters(connection)] == [False, True]
        hold.load(bad(3))
    resolved, other, again = letters(connection)
    assert (resolved["record_id"], other["record_id"], again["record_id"]) == (3, 4, 3)
    assert (again["resolved_at"], again["attempts"]) == (None, 1)


def test_records_without_an_id_are_kept_apart_by_what_they_hold(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        for _ in range(2):
            hold.load(batch({"summary": "one"}, {"summary": "two"}, good := {"id": 1}))
    assert good["id"] == 1
    assert sorted(each["payload"]["summary"] for each in letters(connection)) == ["one", "two"]
    assert [each["attempts"] for each in letters(connection)] == [2, 2]


def test_a_good_copy_below_one_parent_does_not_close_the_letter_of_another(
    warehouse: Database, connection: Connection[Any]
) -> None:
    normalizer = PageReader(SITES)
    with open_store(warehouse, SITES, "refresh") as hold:
        for parent, name in ((1, ["bad"]), (2, ["bad"]), (1, "good")):
            body = json.dumps([{"id": 5, "name": name}]).encode()
            hold.load(normalizer.read_page(body, parent_id=parent), parent_id=parent, alone=False)
    open_letters = [each for each in letters(connection) if each["resolved_at"] is None]
    assert [(each["parent_id"], each["record_id"]) for each in open_letters] == [(2, 5)]


def test_what_cannot_be_read_is_buried_with_its_request_and_left_behind(
    warehouse: Database, connection: Connection[Any]
) -> None:
    reject = Reject(9, None, "cannot be read", "500", "GET /service/tickets?pageId=8")
    with open_store(warehouse, TICKETS, "refresh") as hold:
        hold.save_checkpoint(OPEN)
        hold.load(replace(good(), rejects=(reject,)), IdRange(0, None, 9))
        assert as_stored(hold).tail.cursor == 9
    (letter,) = letters(connection)
    assert (letter["record_id"], letter["payload"]) == (9, None)
    assert letter["request"] == reject.request


def test_ranges_that_note_the_same_drift_in_another_order_do_not_lock_each_other_out(
    warehouse: Database,
) -> None:
    drift = [SchemaDrift(f"field{at}", "unknown field", "") for at in range(30)]
    with open_store(warehouse, TICKETS, "refresh") as hold:

        def noted(at: int) -> None:
            order = drift if at % 2 else drift[::-1]
            hold.load(replace(good(at + 1), drift=tuple(order)), alone=False)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(noted, range(60)))


def test_each_run_has_its_row_with_what_it_cost(
    warehouse: Database, connection: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh", "dagster-7"):
        pass
    (run,) = asked(connection, "select * from cw_sync.run")
    assert (run["entity"], run["kind"]) == ("service/tickets", "refresh")
    assert (run["dagster_run_id"], run["status"]) == ("dagster-7", "started")
