"""Others who use the warehouse beside us: readers with open transactions, and administrators."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Server


def _named(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


@contextmanager
def reading(dsn: str, table: str) -> Iterator[psycopg.Connection]:
    """A BI tool's transaction that has read a table, and is left open inside the block."""
    with psycopg.connect(dsn, application_name="Power BI") as connection:
        connection.execute(sql.SQL("select from {}").format(_named(table)))
        yield connection


@contextmanager
def new_readers(dsn: str, table: str) -> Iterator[list[float]]:
    """Somebody who reads a table again and again: the seconds that each time took."""
    took: list[float] = []
    done = Event()

    def read() -> None:
        query = sql.SQL("select from {}").format(_named(table))
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not done.wait(0.02):
                began = time.monotonic()
                connection.execute(query)
                took.append(time.monotonic() - began)

    thread = Thread(target=read)
    thread.start()
    try:
        yield took
    finally:
        done.set()
        thread.join()


def end_later(reader: psycopg.Connection, seconds: float) -> Thread:
    def end() -> None:
        time.sleep(seconds)
        reader.rollback()

    thread = Thread(target=end)
    thread.start()
    return thread


def as_admin(server: Server, dsn: str, *statements: str) -> list[Any]:
    """Runs statements as the server's administrator in a test's database: the last one's rows."""
    database = conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(server.admin, dbname=database) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
