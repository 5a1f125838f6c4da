"""The right to run an entity: it ends with its runner, and who comes back late writes nothing."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import EntityBusy, WarehouseError
from cw_pipeline.model import Audit, Checkpoint, Column, IdRange, Kind, SyncResult, Window
from cw_pipeline.transform import PageReader
from cw_pipeline.warehouse import Database, open_store
from cw_pipeline.warehouse.lease import PURPOSES, Runner
from cw_pipeline.warehouse.promotions import exclusive_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from cw_pipeline.warehouse import EntityStore

TICKETS, SITES = CATALOG["service/tickets"], CATALOG["company/companies/sites"]
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2999, 1, 1, tzinfo=UTC)
OPEN = Checkpoint(None, Window(None, NOON), IdRange(0, None, 50), (IdRange(0, 50, 0),))
BATCH = PageReader(SITES).read_page(json.dumps([{"id": 1, "name": "Tampa"}]).encode(), parent_id=7)
SOON = timedelta(seconds=1)


def close_with_everything(hold: EntityStore) -> None:
    """Ends a run that has something of everything to leave behind."""
    hold.complete_pass(Checkpoint(NOON))
    hold.learn(count=True)
    hold.page_size, hold.reread_cursor, hold.audit = 500, 9, Audit(SITES.name)
    # With its rows counted, or they would be, which looks after the lease before `close` does.
    hold.close(SyncResult(SITES.name, "refresh", source_rows=3, row_count=3))


WRITES: dict[str, Callable[[EntityStore], object]] = {
    "load": lambda hold: hold.load(BATCH, parent_id=7),
    "load of a range": lambda hold: hold.load(BATCH, IdRange(0, 50, 9), parent_id=7, alone=False),
    "save": lambda hold: hold.save_checkpoint(Checkpoint(NOON)),
    "split_range": lambda hold: hold.split_range((IdRange(0, 25, 0), IdRange(25, 50, 25))),
    "finish_range": lambda hold: hold.finish_range(IdRange(0, 50, 0)),
    "delete": lambda hold: hold.soft_delete([9], before=LATER),
    "follow_parents": lambda hold: hold.delete_orphans(CATALOG["company/companies"]),
    "parents.read": lambda hold: hold.mark_parent_read(7, NOON),
    "close_letters": lambda hold: hold.close_dead_letters([1], "gone"),
    "postpone_letters": lambda hold: hold.postpone_dead_letters([1]),
    "counted": lambda hold: hold.save_source_count(3, 3),
    "quarantine": lambda hold: hold.set_delete_candidates([(0, 9)], "kept"),
    "close": close_with_everything,
}
TABLES = (
    "connectwise.company_companies_sites",
    *(
        f"cw_sync.{table}"
        for table in (
            *("checkpoint", "id_range", "parent_read", "dead_letter", "dead_letter_event"),
            *("capability", "audit", "reread", "source_count", "delete_candidate", "row_change"),
        )
    ),
)


@pytest.fixture
def other(dsn: str) -> Iterator[Database]:
    """The warehouse as another process has it."""
    with Database(dsn, "connectwise") as opened:
        yield opened


@pytest.fixture
def stand_in(connection: Connection[Any]) -> Connection[Any]:
    """A connection on which each statement commits, to act as time and other people do."""
    connection.autocommit = True
    return connection


def end_leases(connection: Connection[Any]) -> None:
    """As when their runners have not been heard of for as long as they last."""
    connection.execute("update cw_sync.lease set expires_at = clock_timestamp() - interval '1 s'")


def contents(connection: Connection[Any]) -> dict[str, list[Any]]:
    """Every row that a run writes, but the run's own."""
    return {
        table: connection.execute(f"select * from {table} order by 1, 2".encode()).fetchall()  # noqa: S608
        for table in TABLES
    }


@contextmanager
def filled(warehouse: Database, stand_in: Connection[Any]) -> Iterator[EntityStore]:
    """A run that has something of everything to change."""
    stand_in.execute(
        "insert into connectwise.company_companies (id, _deleted_at) values (7, now())"
    )
    stand_in.execute(
        "insert into connectwise.company_companies_sites (id, parent_id) values (9, 7)"
    )
    stand_in.execute(
        "insert into cw_sync.dead_letter (tenant, entity, record_id, reason)"
        " values ('connectwise', 'company/companies/sites', 3, 'bad')"
    )
    with open_store(warehouse, SITES, "refresh") as hold:
        hold.save_checkpoint(OPEN)
        yield hold


@pytest.mark.parametrize("name", WRITES)
def test_a_run_whose_lease_was_taken_over_writes_nothing(
    name: str, warehouse: Database, other: Database, stand_in: Connection[Any]
) -> None:
    with filled(warehouse, stand_in) as hold:
        end_leases(stand_in)
        with open_store(other, SITES, "refresh"):
            before = contents(stand_in)
            with pytest.raises(EntityBusy, match="company/companies/sites: another runner"):
                WRITES[name](hold)
            assert contents(stand_in) == before


@pytest.mark.parametrize("name", WRITES)
def test_with_its_lease_it_writes(
    name: str, warehouse: Database, stand_in: Connection[Any]
) -> None:
    with filled(warehouse, stand_in) as hold:
        before = contents(stand_in)
        WRITES[name](hold)
        assert contents(stand_in) != before


def test_nobody_takes_over_in_the_middle_of_a_batch(
    warehouse: Database, other: Database, stand_in: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        with warehouse.transaction(hold.run_id) as inside:
            end_leases(stand_in)
            began = time.monotonic()
            inside.execute("select pg_sleep(0)")
            assert_busy_while(inside, other)
            assert time.monotonic() - began < 5
        with open_store(other, TICKETS, "refresh"):
            pass


def assert_busy_while(inside: Connection[Any], other: Database) -> None:
    """Whoever comes while the server works on a batch is told so, and waits no longer than that."""
    worker = Thread(target=lambda: inside.execute("select pg_sleep(4)"))
    worker.start()
    try:
        with pytest.raises(EntityBusy, match="cw_pipeline"), open_store(other, TICKETS, "refresh"):
            pass
    finally:
        worker.join()


def test_a_batch_whose_runner_stopped_while_it_sent_rows_is_ended(
    dsn: str, other: Database, warehouse: Database, stand_in: Connection[Any]
) -> None:
    """The server waits for the rest of the rows, and no time-out of its own ends that."""

    def stopped(batch: Connection[Any]) -> None:
        batch.execute("select cw_sync.fence(%s)", [hold.run_id])
        with batch.cursor().copy("copy connectwise.service_tickets (id) from stdin") as rows:
            rows.write_row((1,))
            end_leases(stand_in)
            with open_store(other, TICKETS, "refresh"):
                pass

    with (
        psycopg.connect(dsn) as batch,
        open_store(warehouse, TICKETS, "refresh") as hold,
        pytest.raises(psycopg.OperationalError),
    ):
        stopped(batch)
    assert stand_in.execute("select * from connectwise.service_tickets").fetchall() == []


def test_a_transaction_that_stands_still_is_ended_by_the_server(
    warehouse: Database, stand_in: Connection[Any]
) -> None:
    with (
        open_store(warehouse, TICKETS, "refresh") as hold,
        warehouse.transaction(hold.run_id) as inside,
    ):
        row = inside.execute("show idle_in_transaction_session_timeout").fetchone()
        assert row == ("30s",)
    stand_in.execute("select 1")


def test_a_lease_lasts_as_long_as_its_runner_however_short_it_is(dsn: str, other: Database) -> None:
    with (
        Database(dsn, "connectwise", lease_span=SOON) as warehouse,
        open_store(warehouse, TICKETS, "refresh") as hold,
    ):
        time.sleep(2.5 * SOON.total_seconds())
        with pytest.raises(EntityBusy), open_store(other, TICKETS, "refresh"):
            pass
        hold.save_checkpoint(OPEN)


def test_a_lease_stays_while_all_connections_wait_for_a_locked_table(
    dsn: str, other: Database, stand_in: Connection[Any]
) -> None:
    few = Database(dsn, "connectwise", max_connections=1, lease_span=SOON)
    with few, open_store(few, TICKETS, "refresh") as hold:

        def write() -> None:
            with few.transaction(hold.run_id) as connection:
                connection.execute("insert into connectwise.service_tickets (id) values (1)")

        with stand_in.transaction():
            stand_in.execute("lock table connectwise.service_tickets in access exclusive mode")
            waiting = Thread(target=write)
            waiting.start()
            time.sleep(3 * SOON.total_seconds())
            query = "select expires_at > clock_timestamp() from cw_sync.lease where run_id = %s"
            assert stand_in.execute(query, [hold.run_id]).fetchall() == [(True,)]
            with pytest.raises(EntityBusy), open_store(other, TICKETS, "refresh"):
                pass
        waiting.join()
    assert stand_in.execute("select id from connectwise.service_tickets").fetchall() == [(1,)]


def test_a_runner_with_short_leases_does_not_take_one_that_lasts_longer(
    dsn: str, warehouse: Database
) -> None:
    with (
        open_store(warehouse, TICKETS, "refresh"),
        Database(dsn, "connectwise", lease_span=SOON) as hasty,
    ):
        time.sleep(1.5 * SOON.total_seconds())
        with (
            pytest.raises(EntityBusy, match="within 45 seconds"),
            open_store(hasty, TICKETS, "refresh"),
        ):
            pass


@pytest.mark.parametrize("moved", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_server_whose_clock_is_set_keeps_no_dead_lease_and_lets_nobody_write_twice(
    moved: timedelta, warehouse: Database, other: Database, stand_in: Connection[Any]
) -> None:
    """Set back, a lease would end an hour late; set forward, it has ended already."""
    with open_store(warehouse, TICKETS, "refresh") as hold:
        stand_in.execute("update cw_sync.lease set expires_at = expires_at + %s", [moved])
        with open_store(other, TICKETS, "refresh"), pytest.raises(EntityBusy):
            hold.save_checkpoint(OPEN)


def test_a_lease_that_could_not_be_released_is_in_nobodys_way(
    warehouse: Database, stand_in: Connection[Any]
) -> None:
    with open_store(warehouse, TICKETS, "refresh"):
        stand_in.execute("alter table cw_sync.lease rename to elsewhere")
    stand_in.execute("alter table cw_sync.elsewhere rename to lease")
    with open_store(warehouse, TICKETS, "refresh"):
        pass
    warehouse.__exit__(None, None, None)
    assert stand_in.execute("select * from cw_sync.lease").fetchall() == []


def test_a_lease_that_no_server_took_back_is_not_in_the_way_of_this_process_later(
    dsn: str, other: Database, stand_in: Connection[Any]
) -> None:
    """As after a switch-over: the run and its connections ended while nothing could be written."""
    with Database(dsn, "connectwise") as warehouse, open_store(warehouse, TICKETS, "refresh"):
        stand_in.execute("alter table cw_sync.lease rename to elsewhere")
    stand_in.execute("alter table cw_sync.elsewhere rename to lease")
    assert stand_in.execute("select count(*) from cw_sync.lease").fetchone() == (1,)
    with (
        open_store(other, TICKETS, "refresh"),
        pytest.raises(EntityBusy),
        open_store(other, TICKETS, "refresh"),
    ):
        pass
    assert stand_in.execute("select * from cw_sync.lease").fetchall() == []


def test_a_promotion_names_who_reads_the_entity_and_keeps_everybody_out(
    warehouse: Database, other: Database
) -> None:
    for kind in PURPOSES:
        with (
            open_store(warehouse, TICKETS, kind),
            pytest.raises(EntityBusy, match="cw_pipeline"),
            exclusive_fields(other, TICKETS),
        ):
            pass
    with exclusive_fields(warehouse, TICKETS):
        for kind in PURPOSES:
            with pytest.raises(EntityBusy, match="cw_pipeline"), open_store(other, TICKETS, kind):
                pass
    with open_store(other, TICKETS, "refresh"):
        pass


def test_a_promotion_that_stands_still_for_too_long_changes_nothing(
    warehouse: Database, other: Database, stand_in: Connection[Any]
) -> None:
    def stopped() -> None:
        with exclusive_fields(warehouse, TICKETS) as fields:
            fields.add("service_tickets", Column("extra", ("extra",), Kind.TEXT), ("extra",))
            end_leases(stand_in)
            with open_store(other, TICKETS, "refresh"):
                pass

    with pytest.raises(WarehouseError):
        stopped()
    assert stand_in.execute("select * from cw_sync.promoted_column").fetchall() == []


def test_a_process_is_gone_only_for_who_counts_processes_as_it_does() -> None:
    here = Runner.this()
    nobody = replace(here, process_id=2**22 + 1)  # more than Linux gives
    assert not here.is_gone(here)
    assert nobody.is_gone(here)
    assert not replace(nobody, machine="another boot").is_gone(here)
    assert not replace(nobody, machine=None).is_gone(replace(here, machine=None))
    assert here.started is not None
    reused = replace(here, started=here.started - 1)
    assert reused.is_gone(here)


def test_a_process_that_ended_and_was_not_waited_for_is_gone() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    deadline = time.monotonic() + 5
    here = Runner.this()
    while not replace(here, process_id=child, started=0).is_gone(here):
        assert time.monotonic() < deadline
    os.waitpid(child, 0)


def test_a_run_of_an_older_version_is_let_finish_and_can_begin_no_other(
    dsn: str, warehouse: Database
) -> None:
    key = "select pg_advisory_lock(hashtextextended('connectwise/pass/service/tickets', 0))"
    begin = "insert into cw_sync.run (tenant, entity, kind) values ('connectwise', 'a', 'refresh')"
    with psycopg.connect(dsn, autocommit=True, application_name="cw_pipeline old:1") as old:
        old.execute(key)
        with (
            pytest.raises(EntityBusy, match=r"old:1 \(older version"),
            open_store(warehouse, TICKETS, "refresh"),
        ):
            pass
        with open_store(warehouse, TICKETS, "backfill"):
            pass
        with pytest.raises(psycopg.errors.NotNullViolation):
            old.execute(begin)
    with open_store(warehouse, TICKETS, "refresh"):
        pass


def test_the_loser_of_two_that_start_at_once_is_told_and_one_wins(dsn: str) -> None:
    won: list[int] = []
    told: list[str] = []

    def race() -> None:
        with Database(dsn, "connectwise") as warehouse:
            try:
                with open_store(warehouse, TICKETS, "refresh") as hold:
                    won.append(hold.run_id)
                    time.sleep(1)
            except EntityBusy as error:
                told.append(str(error))

    threads = [Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(told) == 5


def test_a_server_that_is_away_makes_no_noise_but_a_warning(
    dsn: str, stand_in: Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Database(dsn, "connectwise", lease_span=SOON) as warehouse,
        open_store(warehouse, TICKETS, "refresh") as hold,
    ):
        stand_in.execute("alter table cw_sync.lease rename to elsewhere")
        time.sleep(0.6)
        stand_in.execute("alter table cw_sync.elsewhere rename to lease")
        time.sleep(0.6)
        hold.save_checkpoint(OPEN)
    assert "could not be renewed" in caplog.text
