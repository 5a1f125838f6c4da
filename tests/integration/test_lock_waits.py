"""Whoever waits for a lock is told for whom, by whatever connection, and not for ever."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.errors import WarehouseError, WarehouseLocked
from cw_pipeline.warehouse.database import Database
from cw_pipeline.warehouse.ddl import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "connectwise.service_boards"
READ = f"select count(*) from {TABLE}"  # noqa: S608
BRIEF = Patience(name_after=1, give_up_after=6)


@pytest.fixture
def locker(dsn: str) -> Iterator[psycopg.Connection]:
    """Somebody who has locked a table."""
    with psycopg.connect(dsn, application_name="Power BI") as other:
        other.execute(f"lock table {TABLE} in access exclusive mode")
        yield other


def named(locker: psycopg.Connection) -> str:
    who = f"process {locker.info.backend_pid}, user {locker.info.user}, application Power BI"
    return f"{TABLE} is locked ({who})"


def assert_named_and_given_up(
    database: Database, locker: psycopg.Connection, caplog: pytest.LogCaptureFixture, *, alone: bool
) -> None:
    """`alone`: the statement is in no transaction."""
    began = time.monotonic()
    with (
        pytest.raises(WarehouseLocked) as caught,
        database.connection() if alone else database.transaction() as connection,
    ):
        connection.execute(READ)
    assert 5.5 < time.monotonic() - began < 12
    assert any(line.startswith(named(locker)) for line in caplog.messages), caplog.messages
    assert str(caught.value).startswith(f"{named(locker)}: given up after ")


@pytest.mark.parametrize("alone", [True, False])
def test_a_wait_is_named_and_ends(
    dsn: str, locker: psycopg.Connection, caplog: pytest.LogCaptureFixture, *, alone: bool
) -> None:
    # One connection, so that all of them wait.
    with Database(dsn, "connectwise", max_connections=1, patience=BRIEF) as database:
        assert_named_and_given_up(database, locker, caplog, alone=alone)
        locker.rollback()
        with database.connection() as connection:
            assert connection.execute(READ).fetchone() == (0,)


@pytest.mark.parametrize("alone", [True, False])
def test_also_through_a_pooler(
    pooled_dsn: str, locker: psycopg.Connection, caplog: pytest.LogCaptureFixture, *, alone: bool
) -> None:
    with Database(pooled_dsn, "connectwise", max_connections=4, patience=BRIEF) as database:
        assert_named_and_given_up(database, locker, caplog, alone=alone)


def test_a_long_statement_that_waits_for_nobody_is_let_work(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Database(dsn, "connectwise", max_connections=1, patience=BRIEF) as database,
        database.connection() as connection,
    ):
        connection.execute("select pg_sleep(4)")
    assert caplog.messages == []


def test_nothing_is_asked_while_statements_are_short(dsn: str) -> None:
    with Database(dsn, "connectwise", max_connections=4, patience=BRIEF) as database:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            with database.transaction() as connection:
                connection.execute("select pg_sleep(0.01)")
        with database.connection() as connection:
            query = "select count(*) from pg_stat_activity where application_name like 'cw_pipe%'"
            assert connection.execute(query).fetchone() == (1,)  # nobody took a second connection


def test_two_that_wait_for_each_other_are_told_so(dsn: str) -> None:
    update = f"update {TABLE} set name = 'x' where id = %s"  # noqa: S608
    with (
        psycopg.connect(dsn) as other,
        Database(dsn, "connectwise", max_connections=1) as database,
    ):
        other.execute(f"insert into {TABLE} (id) values (1), (2)")  # noqa: S608
        other.commit()
        other.execute(update, [1])
        waiting = Thread(target=other.execute, args=(update, [2]))

        def meet() -> None:
            with database.transaction() as connection:
                connection.execute(update, [2])
                waiting.start()
                time.sleep(2)  # the server looks at each wait once, after a second
                connection.execute(update, [1])

        with pytest.raises(WarehouseError, match="waited for each other"):
            meet()
        waiting.join()
