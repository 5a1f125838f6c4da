"""The locks by which an old version and a new one keep out of each other's way in an upgrade."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.reporting import entities, publish, refresh
from cw_pipeline.reporting.custom_fields import refresh_custom_views
from cw_pipeline.reporting.script import kept_tables, tables_reading
from cw_pipeline.transform import PageReader
from cw_pipeline.transform.mask import MaskingRules
from cw_pipeline.warehouse import Database, migrate, open_store
from cw_pipeline.warehouse.private_columns import mask_stored_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

TICKETS, NOTES = CATALOG["service/tickets"], CATALOG["service/tickets/notes"]
PATIENCE = 30.0  # seconds

_WAITED_FOR = """
select exists (
    select from pg_locks mine join pg_locks other
        using (locktype, database, classid, objid, objsubid)
    where mine.pid = pg_backend_pid() and locktype = 'advisory' and not other.granted
)
"""


def waits_for(connection: Connection[Any], key: str, work: Callable[[], object]) -> None:
    """Fails unless `work` waits for this lock, and ends when it is free."""
    connection.execute(f"select pg_advisory_xact_lock({key})".encode())
    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(work)
        end = time.monotonic() + PATIENCE
        while not (waited := is_waited_for(connection)) and not working.done():
            if time.monotonic() > end:
                break
            time.sleep(0.02)
        connection.rollback()
        working.result(PATIENCE)
    assert waited, f"{key} is not waited for"


def is_waited_for(connection: Connection[Any]) -> bool:
    row = connection.execute(_WAITED_FOR).fetchone()
    return bool(row and row[0])


def loads_a_ticket(warehouse: Database) -> object:
    with open_store(warehouse, TICKETS, "refresh") as hold:
        return hold.load(PageReader(TICKETS).read_page(b'[{"id":1}]'))


def loads_a_note(warehouse: Database) -> object:
    with open_store(warehouse, NOTES, "refresh") as hold:
        return hold.load(PageReader(NOTES).read_page(b'[{"id":1}]', parent_id=7), parent_id=7)


@pytest.mark.parametrize(
    ("key", "loads"),
    [
        ("hashtextextended('connectwise/service/tickets', 1)", loads_a_ticket),
        ("hashtextextended('connectwise/service/tickets/notes/7', 1)", loads_a_note),
    ],
)
def test_rows_are_merged_under_the_same_lock(
    key: str,
    loads: Callable[[Database], object],
    connection: Connection[Any],
    warehouse: Database,
) -> None:
    waits_for(connection, key, lambda: loads(warehouse))


def test_tables_are_made_under_the_same_lock(connection: Connection[Any], dsn: str) -> None:
    waits_for(connection, "7239001", lambda: migrate(dsn, "connectwise", [TICKETS]))


def test_views_are_made_under_the_same_locks(connection: Connection[Any], dsn: str) -> None:
    migrate(dsn, "connectwise", entities())
    waits_for(connection, "7239002", lambda: publish(dsn, "connectwise"))
    waits_for(connection, "7239003", lambda: refresh_custom_views(dsn, "connectwise"))
    table = "hashtextextended('connectwise/fct_ticket_all', 2)"
    waits_for(connection, table, lambda: refresh(dsn, "connectwise", ["fct_ticket_all"]))
    assert publish(dsn, "connectwise") == []


def test_what_becomes_private_is_waited_for_by_all_tables_that_show_it(
    connection: Connection[Any], warehouse: Database, dsn: str
) -> None:
    """Also those that read another table: what a refresh had read before would stay for good."""
    migrate(dsn, "connectwise", entities())
    publish(dsn, "connectwise")
    rules = MaskingRules.of(None, "time_entries.hourly_rate", None)
    table = "hashtextextended('connectwise/kpi_client_month', 2)"
    hours = [CATALOG["time/entries"]]
    waits_for(connection, table, lambda: mask_stored_rows(warehouse, hours, rules))
    filled_anew = connection.execute(
        "select name from cw_sync.publication where is_table and changed_through is null"
    ).fetchall()
    shown = tables_reading(["time/entries"]) & kept_tables()
    assert {name for (name,) in filled_anew} == shown
    assert {"fct_time_entry_all", "kpi_client_month"} <= shown
