"""One runner an entity: the second says who holds it, and a dead one lets go."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import EntityBusy, WarehouseError
from cw_pipeline.model import Checkpoint
from cw_pipeline.warehouse import Database, open_store

if TYPE_CHECKING:
    from psycopg import Connection

TICKETS, BOARDS = CATALOG["service/tickets"], CATALOG["service/boards"]


def test_a_second_runner_is_told_who_holds_the_entity(dsn: str, warehouse: Database) -> None:
    with Database(dsn, "connectwise") as other, open_store(warehouse, TICKETS, "refresh"):
        with pytest.raises(EntityBusy, match="cw_pipeline"), open_store(other, TICKETS, "full"):
            pass
        with open_store(other, BOARDS, "refresh"), open_store(other, TICKETS, "backfill"):
            pass
    with open_store(warehouse, TICKETS, "refresh"):
        pass


def test_an_error_inside_lets_go(warehouse: Database) -> None:
    with pytest.raises(ZeroDivisionError), open_store(warehouse, TICKETS, "refresh"):
        raise ZeroDivisionError
    with open_store(warehouse, TICKETS, "refresh"):
        pass


def test_a_runner_whose_connections_are_cut_still_holds_the_entity(
    dsn: str, warehouse: Database, connection: Connection[Any]
) -> None:
    """A lease is no session's: poolers and firewalls end those while the runner lives."""
    with open_store(warehouse, TICKETS, "refresh") as hold:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and usename = session_user"
            " and pid <> pg_backend_pid()"
        )
        other = Database(dsn, "connectwise")
        with other, pytest.raises(EntityBusy), open_store(other, TICKETS, "refresh"):
            pass
        with suppress(WarehouseError):
            hold.row_count()  # finds out that its connection was cut
        hold.save_checkpoint(Checkpoint())


def test_tenants_in_one_database_do_not_hold_each_other_up(dsn: str, warehouse: Database) -> None:
    second = Database(dsn, "second")
    with second, open_store(warehouse, TICKETS, "refresh"), open_store(second, TICKETS, "refresh"):
        pass


def test_what_the_database_says_comes_out_as_a_warehouse_error(warehouse: Database) -> None:
    with pytest.raises(WarehouseError) as caught, warehouse.connection() as connection:
        connection.execute("select * from nowhere")
    assert isinstance(caught.value.__cause__, psycopg.Error)
