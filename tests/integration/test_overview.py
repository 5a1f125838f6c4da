"""What `status` shows is what the state tables say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from cw_pipeline.cli.sync import waiting_reason
from cw_pipeline.warehouse.status import Reading, entity_statuses, last_run, progress

if TYPE_CHECKING:
    from cw_pipeline.warehouse.status import EntityStatus

THEN = datetime(2026, 11, 24, 3, tzinfo=UTC)


def status_of(connection: psycopg.Connection, entity: str) -> EntityStatus:
    found = {each.entity: each for each in entity_statuses(connection, "connectwise")}
    return found[entity]


def test_before_the_first_migration_there_is_nothing_to_show(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        assert entity_statuses(connection, "connectwise") == []
        assert last_run(connection) == 0
        assert progress(connection, "connectwise", 0).running == []


def test_an_entity_shows_how_complete_it_is_and_what_was_last_done(
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        "insert into cw_sync.checkpoint (tenant, entity, watermark, row_count)"
        " values ('connectwise', 'time/entries', %s, 42)",
        [THEN],
    )
    connection.execute(
        "insert into cw_sync.run (run_id, tenant, entity, kind, status, rows_read, error) values"
        " (1, 'connectwise', 'time/entries', 'refresh', 'done', 7, null),"
        " (2, 'connectwise', 'time/entries', 'backfill', 'failed', 3, 'no answer')"
    )
    status = status_of(connection, "time/entries")
    assert status.complete_through == THEN
    assert status.rows == 42
    assert status.age is not None
    assert status.last_run is not None
    assert (status.last_run.kind, status.last_run.status) == ("backfill", "failed")
    assert (status.last_run.rows_read, status.last_run.error) == (3, "no answer")


def test_what_somebody_must_look_at_is_counted(connection: psycopg.Connection) -> None:
    connection.execute(
        "insert into cw_sync.dead_letter (tenant, entity, record_id, reason, resolved_at) values"
        " ('connectwise', 'time/entries', 1, 'cannot be read', null),"
        " ('connectwise', 'time/entries', 2, 'cannot be read', now()),"
        " ('other', 'time/entries', 3, 'cannot be read', null)"
    )
    connection.execute(
        "insert into cw_sync.delete_candidate (tenant, entity, record_id, reason)"
        " values ('connectwise', 'time/entries', 1, 'too many')"
    )
    connection.execute(
        'insert into cw_sync.column_drift (tenant, entity, "column", change)'
        " values ('connectwise', 'time/entries', 'new_field', 'unknown')"
    )
    connection.execute(
        "insert into cw_sync.audit (tenant, entity, kind, at, source_rows, drift) values"
        " ('connectwise', 'time/entries', 'reconcile', now(), 900, 0),"
        " ('connectwise', 'time/entries', 'reread', now(), 100, 0),"
        " ('connectwise', 'time/entries', 'reread', now() - interval '1 day', 100, 2),"
        " ('connectwise', 'time/entries', 'reread', now() - interval '15 days', 100, 50)"
    )
    connection.execute(
        "insert into cw_sync.source_count (tenant, entity, source_rows, warehouse_rows)"
        " values ('connectwise', 'time/entries', 101, 100)"
    )
    status = status_of(connection, "time/entries")
    assert (status.dead_letters, status.quarantined, status.column_drift) == (1, 1, 1)
    assert (status.drift, status.reread, status.drifts) == (2, 200, False)
    assert not status.counts_differ  # the dead letter is the one
    assert status.proven is False
    assert status.last_run is None


def test_lists_below_a_parent_show_the_parent_read_longest_ago(
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        "insert into cw_sync.checkpoint (tenant, entity) values ('connectwise', 'a/b')"
    )
    connection.execute(
        "insert into cw_sync.parent_read (tenant, entity, parent_id, read_at) values"
        " ('connectwise', 'a/b', 1, now()), ('connectwise', 'a/b', 2, %s)",
        [THEN],
    )
    assert status_of(connection, "a/b").oldest_parent == THEN


def test_progress_names_what_runs_now_and_not_what_ran_before(
    connection: psycopg.Connection,
) -> None:
    insert = (
        "insert into cw_sync.run (run_id, tenant, entity, kind, status)"
        " values (nextval('cw_sync.next_run_id'), 'connectwise', %s, 'refresh', %s)"
    )
    connection.execute(insert, ["left/behind", "started"])
    before = last_run(connection)
    assert last_run(connection, 60) < before, "a minute ago it had not begun"
    connection.execute(insert, ["time/entries", "started"])
    connection.execute(insert, ["service/tickets", "done"])
    now = progress(connection, "connectwise", before)
    assert now.running == [Reading("time/entries", 0, None)]
    assert now.written["service_tickets"] == 0


def test_a_first_load_is_measured_by_what_was_counted_and_is_no_miscount(
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        "insert into cw_sync.checkpoint (tenant, entity, pass_until, row_count)"
        " values ('connectwise', 'time/entries', now(), 100)"
    )
    connection.execute(
        "insert into cw_sync.row_change (tenant, entity, change)"
        " values ('connectwise', 'time/entries', 700), ('connectwise', 'time/entries', 300)"
    )
    connection.execute(
        "insert into cw_sync.source_count (tenant, entity, source_rows, warehouse_rows)"
        " values ('connectwise', 'time/entries', 5000, 100)"
    )
    connection.execute(
        "insert into cw_sync.run (run_id, tenant, entity, kind) values"
        " (1, 'connectwise', 'time/entries', 'refresh')"
    )
    assert progress(connection, "connectwise", 0).running == [Reading("time/entries", 1100, 5000)]
    status = status_of(connection, "time/entries")
    assert status.rows == 1100
    assert not status.counts_differ
    connection.execute("update cw_sync.checkpoint set watermark = now(), pass_until = null")
    assert progress(connection, "connectwise", 0).running == [Reading("time/entries", 1100, None)]
    assert status_of(connection, "time/entries").counts_differ


def test_a_list_below_parents_is_measured_by_the_parents_that_were_read(
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        "insert into cw_sync.run (run_id, tenant, entity, kind, parents_due) values"
        " (1, 'connectwise', 'service/boards/statuses', 'refresh', 5)"
    )
    connection.execute(
        "insert into cw_sync.parent_read (tenant, entity, parent_id, read_at) values"
        " ('connectwise', 'service/boards/statuses', 1, now() - interval '1 day'),"
        " ('connectwise', 'service/boards/statuses', 2, now() + interval '1 second'),"
        " ('connectwise', 'service/boards/statuses', 3, now() + interval '2 seconds')"
    )
    (reading,) = progress(connection, "connectwise", 0).running
    assert reading.share == (2, 5, "parent")


def test_progress_says_what_all_requests_wait_for(connection: psycopg.Connection) -> None:
    def reason() -> str:
        return waiting_reason(progress(connection, "connectwise", 0))

    assert reason() == ""
    connection.execute(
        "insert into cw_sync.request_budget (tenant, next_free)"
        " values ('connectwise', clock_timestamp() - interval '1 second')"
    )
    assert reason() == ""
    connection.execute(
        "update cw_sync.request_budget set next_free = clock_timestamp() + interval '10 seconds'"
    )
    assert reason() == "at CW_REQUESTS_PER_MINUTE"
    connection.execute(
        "update cw_sync.request_budget set paused_until = clock_timestamp() + interval '270 s'"
    )
    assert reason() == "paused by ConnectWise, 4 min"


def test_a_run_that_was_cut_short_is_interrupted_and_one_that_failed_is_not(
    connection: psycopg.Connection,
) -> None:
    for run_id, (error, status) in enumerate(
        (
            ("interrupted", "interrupted"),
            ("its process was gone before it ended", "interrupted"),
            ("no answer", "failed"),
        )
    ):
        connection.execute(
            "insert into cw_sync.run (run_id, tenant, entity, kind, status, error)"
            " values (%s, 'connectwise', 'time/entries', 'refresh', 'failed', %s)",
            [run_id, error],
        )
        last = status_of(connection, "time/entries").last_run
        assert last is not None
        assert last.status == status
