"""Changing what others read: nobody waits behind us, and nobody waits in silence."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import WarehouseLocked
from cw_pipeline.reporting.database import transaction
from cw_pipeline.warehouse import Database, migrate
from cw_pipeline.warehouse.ddl import Patience, patiently
from cw_pipeline.warehouse.promotions import promote
from tests.integration.others import end_later, new_readers, reading

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cw_pipeline.warehouse.ddl import Attempt

BOARDS = "connectwise.service_boards"


def test_new_readers_do_not_queue_behind_a_migration_that_waits_for_an_old_one(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table connectwise.service_boards drop column location_id")
    with reading(dsn, BOARDS) as old, new_readers(dsn, BOARDS) as took:
        thread = end_later(old, 3)
        migrate(dsn, "connectwise", [CATALOG["service/boards"]])
        thread.join()
    assert len(took) > 30
    assert max(took) < 1.5, "half a second, and what a busy machine adds"
    with psycopg.connect(dsn) as connection:
        connection.execute("select location_id from connectwise.service_boards")


def test_a_promotion_waits_like_a_migration(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into connectwise.service_boards (id, _extra) values (1, '{\"newField\": 7}')"
        )
    with Database(dsn, "connectwise") as warehouse, reading(dsn, BOARDS) as old:
        thread = end_later(old, 2)
        with new_readers(dsn, BOARDS) as took:
            (made,) = promote(warehouse, CATALOG["service/boards"], "newField")
        thread.join()
    assert made.rows == 1
    assert max(took) < 1.5


def altering(dsn: str, table: str) -> Any:
    """What changes a table, as an attempt of `patiently`."""

    def attempted(attempt: Attempt) -> None:
        with transaction(dsn) as connection, attempt.brief(connection):
            connection.execute(
                sql.SQL("alter table {} add own_note text").format(
                    sql.Identifier(*table.split("."))
                )
            )

    return attempted


def test_whoever_is_in_the_way_is_named_and_then_it_goes_on(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    def connect() -> AbstractContextManager[psycopg.Connection[Any]]:
        return transaction(dsn)

    with reading(dsn, BOARDS) as old, caplog.at_level(logging.WARNING, "cw_pipeline.warehouse.ddl"):
        thread = end_later(old, 6)
        patience = Patience(name_after=2)
        patiently(altering(dsn, BOARDS), connect, "the test", patience)
        thread.join()
        pid, user = old.info.backend_pid, old.info.user
    (first, *_) = [record.getMessage() for record in caplog.records]
    assert f"{BOARDS} is locked (process {pid}, user {user}, application Power BI)" in first


def test_who_does_not_go_away_ends_the_command_with_what_to_do(dsn: str) -> None:
    def connect() -> AbstractContextManager[psycopg.Connection[Any]]:
        return transaction(dsn)

    with reading(dsn, BOARDS) as old:
        with pytest.raises(WarehouseLocked) as caught:
            patiently(altering(dsn, BOARDS), connect, "the test", Patience(give_up_after=3))
        pid = old.info.backend_pid
    said = str(caught.value)
    assert said.startswith("the test was given up after ")
    assert f"{BOARDS} is locked (process {pid}, user " in said
    assert f"select pg_terminate_backend({pid})" in said
    assert "run the command again" in said
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.UndefinedColumn):
        connection.execute("select own_note from connectwise.service_boards")


def test_an_error_that_is_no_lock_comes_out_at_once(dsn: str) -> None:
    calls = []

    def attempted(attempt: Attempt) -> None:
        calls.append(attempt)
        with transaction(dsn) as connection, attempt.brief(connection):
            connection.execute("select 1 / 0")

    with pytest.raises(Exception, match="division by zero"):
        patiently(attempted, lambda: transaction(dsn), "the test")
    assert len(calls) == 1


def test_five_that_migrate_at_once_wait_for_each_other_and_not_for_seconds(dsn: str) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: migrate(dsn, "connectwise", []), range(5)))
    assert time.monotonic() - began < 5
