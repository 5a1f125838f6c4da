"""Migration: as often as one likes, by several at once, and nothing is ever dropped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import WarehouseError, WarehouseNewer
from cw_pipeline.paths import SQL
from cw_pipeline.reporting import publish, refresh, tables_behind
from cw_pipeline.reporting.script import ReportingSchema, scripts
from cw_pipeline.reporting.tables import _refresh_table
from cw_pipeline.warehouse import Database, migrate, up_to_date_schema, version_fault
from cw_pipeline.warehouse.schema import StoredSchema, read_schema
from tests.conftest import _database as database
from tests.integration.conftest import ZONE
from tests.integration.ledger import Ledger

if TYPE_CHECKING:
    from tests.conftest import Owner, Server

TABLE = next(script for script in scripts() if script.name == "fct_ticket_all")
PLACE = ReportingSchema("connectwise", ZONE)
SOME = [CATALOG["service/boards"], CATALOG["service/boards/statuses"]]


def asked(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def columns(dsn: str) -> set[tuple[Any, ...]]:
    return set(
        asked(
            dsn,
            "select table_schema, table_name, column_name, data_type"
            " from information_schema.columns where table_schema in ('connectwise', 'cw_sync')",
        )
    )


def test_a_second_migration_changes_nothing(empty_dsn: str) -> None:
    migrate(empty_dsn, "connectwise", SOME)
    before = columns(empty_dsn)
    migrate(empty_dsn, "connectwise", SOME)
    assert columns(empty_dsn) == before
    assert version_fault(empty_dsn) is None


def test_two_processes_that_migrate_at_once_both_succeed(empty_dsn: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: migrate(empty_dsn, "connectwise", SOME), range(3)))
    assert version_fault(empty_dsn) is None


def test_a_column_the_catalog_has_gained_is_added_and_rows_stay(empty_dsn: str) -> None:
    migrate(empty_dsn, "connectwise", SOME)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("insert into connectwise.service_boards (id, name) values (1, 'a')")
        connection.execute("alter table connectwise.service_boards drop column location_id")
        connection.execute("alter table connectwise.service_boards add own_note text")
    migrate(empty_dsn, "connectwise", SOME)
    found = asked(
        empty_dsn, "select id, name, location_id, own_note from connectwise.service_boards"
    )
    assert found == [(1, "a", None, None)]


def test_a_newer_warehouse_is_named_and_left_alone(empty_dsn: str) -> None:
    migrate(empty_dsn, "connectwise", SOME)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("update cw_sync.migration set version_num = '9999_later'")
    before = columns(empty_dsn)
    with pytest.raises(WarehouseError, match="9999_later"):
        migrate(empty_dsn, "connectwise", list(CATALOG.values())[:3])
    assert columns(empty_dsn) == before


TRIGGERS = (
    "select tgrelid::regclass::text, pg_get_triggerdef(oid), tgenabled::text from pg_trigger"
    " where tgname in ('hand_edit', 'hand_write') order by 1, 2"
)


def test_a_warehouse_of_an_older_version_is_upgraded(empty_dsn: str) -> None:
    lists = [*SOME, CATALOG["service/tickets"]]  # one with elements
    migrate(empty_dsn, "connectwise", lists)
    newest, watched = columns(empty_dsn), asked(empty_dsn, TRIGGERS)
    assert len(watched) > len(lists)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(
            "drop table cw_sync.lease; drop function cw_sync.fence; drop sequence"
            " cw_sync.next_run_id; alter table cw_sync.run alter run_id add generated always as"
            " identity (start 7); insert into cw_sync.run (tenant, entity, kind) values"
            " ('connectwise', 'service/tickets', 'refresh'); drop table cw_sync.row_change;"
            " alter table cw_sync.run drop parents_due, drop api_version;"
            " alter table cw_sync.publication drop month_closes_on;"
            " drop table cw_sync.clock_disorder, cw_sync.hint, cw_sync.callback_count;"
            " drop table cw_sync.callback_state; drop sequence cw_sync.hint_seq;"
            " drop function cw_sync.note_hand_edit, cw_sync.note_hand_edit_of_element cascade;"
            " drop function cw_sync.watch_rows, cw_sync.watch_elements, cw_sync.is_watched;"
            " drop function cw_sync.note_hand_writes cascade;"
            " alter table cw_sync.checkpoint drop watermark_at, drop pass_at,"
            " drop step_since, drop step_until,"
            " drop hint_at cascade; alter table cw_sync.checkpoint drop wanted;"
            " create view cw_sync.freshness as"
            " select tenant, entity, watermark as data_complete_through, now() - watermark as age,"
            " null::text as last_status from cw_sync.checkpoint;"
            " drop table cw_sync.schema_owner; comment on schema connectwise is"
            " 'ConnectWise tenant acme@psa.example.com, kept by cw_pipeline'; create sequence"
            " connectwise.ids owned by connectwise.service_boards.id; alter table"
            " connectwise.service_boards alter id set default nextval('connectwise.ids');"
            " update cw_sync.migration set version_num = '0006'"
        )
    migrate(empty_dsn, "connectwise", lists)
    assert columns(empty_dsn) == newest
    assert asked(empty_dsn, TRIGGERS) == watched
    assert asked(empty_dsn, "select nextval('cw_sync.next_run_id')") == [(8,)]
    assert asked(empty_dsn, "select * from cw_sync.schema_owner") == [
        ("connectwise", "acme@psa.example.com")
    ]
    counted = "select count(*) from pg_class where relkind = 'S' and relname = 'ids'"
    assert asked(empty_dsn, counted) == [(0,)], "ids are ConnectWise's"
    ((version,),) = asked(empty_dsn, "select version_num from cw_sync.migration")
    files = [path.name.partition("_")[0] for path in (SQL / "migrations/versions").glob("*.sql")]
    assert version == max(files)
    assert len(files) == len(set(files)) == int(version), "each version is one file"


def test_several_tenants_share_a_warehouse(empty_dsn: str) -> None:
    for tenant in ("connectwise", "second"):
        migrate(empty_dsn, tenant, SOME)
    tables = asked(empty_dsn, "select schemaname from pg_tables where tablename = 'service_boards'")
    assert sorted(tables) == [("connectwise",), ("second",)]


def read(dsn: str, schema: str = "connectwise") -> StoredSchema | None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return read_schema(connection, schema, SOME)


@pytest.mark.parametrize(
    "change",
    [
        "alter table connectwise.service_boards drop column location_id",
        "alter table connectwise.service_boards alter name type varchar",
        "alter table connectwise.service_boards_statuses drop column _deleted_at",
        "drop table connectwise.service_boards_statuses",
        "update cw_sync.migration set version_num = '0009'",
        "update cw_sync.migration set version_num = '9999'",
        "drop table cw_sync.schema_owner",
        "drop schema cw_sync cascade",
        "delete from cw_sync.history_column where column_name = 'board_id'",
        (
            "insert into cw_sync.history_column (tenant, entity, column_name)"
            " values ('connectwise', 'service/tickets', 'estimated_start_date')"
        ),
        (
            "insert into cw_sync.promoted_column (tenant, entity, path, column_name, kind)"
            " values ('connectwise', 'service/boards', '{a}', 'a', 'text')"
        ),
    ],
)
def test_whatever_a_migration_would_change_is_seen_without_one(empty_dsn: str, change: str) -> None:
    migrate(empty_dsn, "connectwise", SOME, "")
    stored = read(empty_dsn)
    assert stored is not None
    assert stored.fits(SOME, "")
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(change.encode())
    stored = read(empty_dsn)
    assert stored is None or not stored.fits(SOME, "")


def test_a_role_that_may_not_create_is_seen_without_a_migration(
    empty_dsn: str, owner: Owner
) -> None:
    migrate(empty_dsn, "connectwise", SOME, "")
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(
            sql.SQL("revoke create on schema connectwise from {}").format(
                sql.Identifier(owner.name)
            )
        )
    stored = read(empty_dsn)
    assert stored is not None
    assert not stored.fits(SOME, "")


def test_a_schema_that_is_up_to_date_needs_no_lock(empty_dsn: str) -> None:
    migrate(empty_dsn, "connectwise", SOME, "")
    with (
        psycopg.connect(empty_dsn) as other,
        Database(empty_dsn, "connectwise") as warehouse,
    ):
        other.execute("select pg_advisory_xact_lock(7239001)")
        other.execute("lock table connectwise.service_boards in share row exclusive mode")
        stored = up_to_date_schema(warehouse, empty_dsn, SOME, "")
    assert stored.owner is None
    assert set(stored.columns) == {"service_boards", "service_boards_statuses"}


def test_a_schema_that_is_behind_is_migrated(empty_dsn: str) -> None:
    with Database(empty_dsn, "connectwise") as warehouse:
        assert up_to_date_schema(warehouse, empty_dsn, SOME, "").fits(SOME, "")
        more = [*SOME, CATALOG["service/sources"]]
        assert up_to_date_schema(warehouse, empty_dsn, more, "").fits(more, "")


def test_a_process_that_began_before_an_upgrade_writes_nothing_after_it(
    server: Server, owner: Owner, publication: str
) -> None:
    """Somebody runs `migrate` of a newer version while a worker of this one goes on."""
    with database(server, owner, publication) as dsn, Database(dsn, "connectwise") as worker:
        books = Ledger(dsn)
        books.merge("service/boards", {"id": 1, "name": "Help"})
        refresh(dsn, "connectwise")
        last_run = "(select max(run_id) from cw_sync.run)"
        written = f"select max(refreshed_at), {last_run} from cw_sync.publication"  # noqa: S608
        before = books.ask(written)
        with psycopg.connect(dsn) as connection:
            connection.execute("update cw_sync.migration set version_num = '9999'")
        for write in (
            lambda: books.merge("service/boards", {"id": 2, "name": "Desk"}),
            lambda: refresh(dsn, "connectwise"),
            lambda: tables_behind(worker.transaction, "connectwise"),
            lambda: _refresh_table(worker.transaction, PLACE, TABLE),
            lambda: publish(dsn, "connectwise", ZONE),
        ):
            with pytest.raises(
                WarehouseNewer, match=r"this process runs .* at migration 9999: restart"
            ):
                write()
        assert books.ask(written) == before


def test_a_table_that_other_scripts_made_is_left_to_them(
    server: Server, owner: Owner, publication: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Two versions that differ in scripts alone: rows of two definitions would be in one table."""
    with database(server, owner, publication) as dsn, Database(dsn, "connectwise") as worker:
        books = Ledger(dsn)
        books.merge("service/tickets", {"id": 1, "closedFlag": False})
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "update cw_sync.publication set digest = 'of others' where name = %s", [TABLE.name]
            )
        assert TABLE.name not in tables_behind(worker.transaction, "connectwise")
        assert TABLE.name not in {table.name for table in refresh(dsn, "connectwise")}
        assert "fct_ticket_all is left as it is" in caplog.text
        assert _refresh_table(worker.transaction, PLACE, TABLE).rows == 0, "published meanwhile"
        tickets = "select ticket_id from reporting.fct_ticket"
        assert books.ask(tickets) == []
        assert TABLE.name in publish(dsn, "connectwise", ZONE)
        assert books.ask(tickets) == [{"ticket_id": 1}]
