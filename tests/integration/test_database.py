"""Whatever server, role and pooler there is, results are the same, or it is said why not."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import text

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting import entities, publish
from cw_pipeline.warehouse import connections, migrate
from cw_pipeline.warehouse.connections import (
    connect,
    create_schemas,
    describe_server,
    sqlalchemy_transaction,
    transaction,
)
from cw_pipeline.warehouse.database import Database
from tests.hostile import make_hostile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Server

MEANT = {
    "datestyle": "ISO, MDY",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
    "intervalstyle": "postgres",
    "client_encoding": "UTF8",
    "search_path": "pg_catalog, public",
    "statement_timeout": "0",
    "lock_timeout": "5min",
    "idle_in_transaction_session_timeout": "5min",
    "transaction_read_only": "off",
    "transaction_isolation": "read committed",
    "quote_all_identifiers": "off",
    "array_nulls": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "transform_null_equals": "off",
}


def settings(connection: Any) -> dict[str, str]:
    wanted = ", ".join(f"current_setting('{name}')" for name in MEANT)
    row = connection.execute(f"select {wanted}").fetchone()
    return dict(zip(MEANT, row, strict=True))


def test_no_setting_of_a_role_or_a_database_reaches_a_transaction(server: Server, dsn: str) -> None:
    make_hostile(server, dsn)
    with transaction(dsn) as connection:
        assert settings(connection) == MEANT
    with Database(dsn, "connectwise") as database, database.transaction() as connection:
        assert settings(connection) == MEANT
    with Database(dsn, "connectwise") as database, database.connection() as connection:
        assert settings(connection) == MEANT
        connection.execute("create table public.written as select 1")
    with sqlalchemy_transaction(dsn) as own:
        assert settings(own.connection.driver_connection) == MEANT


def test_nor_through_a_pooler(server: Server, dsn: str, pooled_dsn: str) -> None:
    make_hostile(server, dsn)
    for _ in range(5):  # each transaction may meet another of the pooler's connections
        with transaction(pooled_dsn) as connection:
            assert settings(connection) == MEANT
        with Database(pooled_dsn, "connectwise") as database, database.transaction() as connection:
            assert settings(connection) == MEANT
        with sqlalchemy_transaction(pooled_dsn) as own:
            assert settings(own.connection.driver_connection) == MEANT


def test_a_single_statement_through_a_pooler_may_write_where_the_role_only_reads(
    server: Server, dsn: str, pooled_dsn: str
) -> None:
    make_hostile(server, dsn)
    with Database(pooled_dsn, "connectwise") as database, database.connection() as connection:
        for own in range(5):
            connection.execute(f"create table public.own_{own} (x int)".encode())
        assert settings(connection) == MEANT


def test_a_pooler_is_left_as_it_was_found(dsn: str, pooled_dsn: str) -> None:
    with Database(pooled_dsn, "connectwise") as database:
        for _ in range(30):
            with database.transaction() as connection:
                connection.execute("select %s::int", [1])
    with psycopg.connect(pooled_dsn, prepare_threshold=None) as other:
        for _ in range(9):
            row = other.execute(
                "select (select count(*) from pg_prepared_statements),"
                " current_setting('idle_in_transaction_session_timeout'),"
                " current_setting('search_path')"
            ).fetchone()
            assert row == (0, "0", '"$user", public')
            other.commit()
    with connect(dsn) as direct:
        assert not direct.pooled


def test_what_is_asked_often_is_prepared_on_a_connection_that_is_ours(dsn: str) -> None:
    with connect(dsn) as connection:
        for _ in range(10):
            connection.execute("select %s::int", [1])
        row = connection.execute("select count(*) from pg_prepared_statements").fetchone()
    assert row is not None
    assert row[0] > 0


def test_what_only_reads_can_be_had_of_a_standby(dsn: str) -> None:
    with transaction(dsn, read_only=True) as connection:
        assert settings(connection)["transaction_read_only"] == "on"


def test_an_address_may_come_from_a_service_file_and_variables(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = conninfo_to_dict(dsn)
    lines = [
        f"{name}={parts[name]}" for name in ("host", "port", "user", "dbname") if name in parts
    ]
    (tmp_path / "services").write_text("\n".join(["[warehouse]", *lines]))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGPASSWORD", str(parts["password"]))
    for address in ("service=warehouse", "postgresql:///?service=warehouse"):
        assert f"database {parts['dbname']}" in describe_server(address)


def test_sqlalchemy_and_a_password_of_all_signs_get_along(server: Server, dsn: str) -> None:
    role, password = f"cw_test_{secrets.token_hex(4)}@odd", "p@ss:w/rd#1% 'x\\"
    database_name = str(conninfo_to_dict(dsn)["dbname"])
    server.create_role(role, "login password 'p@ss:w/rd#1% ''x\\'")
    try:
        encoded = "".join(f"%{byte:02x}" for byte in password.encode())
        rest = server.url(database_name, "x", "y").partition("?")[2]
        address = (
            f"postgresql+psycopg://{role.replace('@', '%40')}:{encoded}@/{database_name}?{rest}"
        )
        with sqlalchemy_transaction(address) as connection:
            assert connection.scalar(text("select current_user")) == role
    finally:
        server.execute("drop role {}", role)


def test_a_database_that_cannot_hold_every_name_is_refused_with_what_to_do(
    narrow_dsn: str,
) -> None:
    for use in (
        lambda: migrate(narrow_dsn, "connectwise", []),
        lambda: Database(narrow_dsn, "connectwise").__enter__(),
        lambda: describe_server(narrow_dsn),
    ):
        with pytest.raises(WarehouseError, match=r"encoding (LATIN1|SQL_ASCII).*encoding 'UTF8'"):
            use()


def test_an_older_server_is_refused_by_its_version(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "OLDEST_SERVER", 90)
    with pytest.raises(WarehouseError, match=r"is PostgreSQL \d+\.\d+, and 90 or newer is needed"):
        migrate(dsn, "connectwise", [])


def test_a_wrong_password_is_said_at_once_and_shown_nowhere(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    began = time.monotonic()
    wrong = "postgresql://wrong-one:wrong-one@localhost:1/wrong-one"
    monkeypatch.setenv("PGPASSWORD", "wrong-one")
    for use in (
        lambda: Database(wrong, "connectwise").__enter__(),
        lambda: migrate(wrong, "connectwise", []),
    ):
        with pytest.raises(WarehouseError, match="CW_WAREHOUSE_DSN") as refused:
            use()
        assert "wrong-one" not in str(refused.value)
        assert "wrong-one" not in repr(refused.value.__cause__)
    assert time.monotonic() - began < 5
    assert "wrong-one" not in caplog.text


def test_why_a_pooler_refuses_an_address_with_options_is_said(pooled_dsn: str) -> None:
    with pytest.raises(WarehouseError, match=r"PgBouncer refuses the `options`"):
        connect(f"{pooled_dsn} options='-c geqo=off'")


class TestLimits:
    def test_a_pool_is_no_larger_than_the_role_may_open(self, limited: tuple[str, str]) -> None:
        with Database(limited[1], "connectwise", max_connections=10) as database:
            assert database._connections._pool is not None
            assert database._connections._pool.max_size == 3

    def test_fewer_connections_than_allowed_are_used_as_they_are(
        self, limited: tuple[str, str]
    ) -> None:
        with (
            psycopg.connect(limited[1]),
            psycopg.connect(limited[1]),
            Database(limited[1], "connectwise", max_connections=10) as database,
        ):
            began = time.monotonic()
            for _ in range(20):
                with database.transaction() as connection:
                    connection.execute("select 1")
            assert time.monotonic() - began < 5

    def test_a_wait_in_vain_ends_with_the_servers_own_words(
        self, limited: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cw_pipeline.warehouse.database.PATIENCE", 1.0)
        with (
            psycopg.connect(limited[1]),
            psycopg.connect(limited[1]),
            Database(limited[1], "connectwise", max_connections=10) as database,
            database.connection(),
            pytest.raises(WarehouseError, match=r"too many connections.*needs 2"),
            database.connection(),
        ):
            pass

    def test_a_role_that_may_open_too_few_is_refused_at_once(
        self, server: Server, limited: tuple[str, str]
    ) -> None:
        server.execute("alter role {} connection limit 1", limited[0])
        with pytest.raises(WarehouseError, match=r"may open 1 connection.*needs 2: alter role"):
            Database(limited[1], "connectwise").__enter__()

    def test_a_server_without_a_connection_left_is_refused_at_once(
        self, server: Server, limited: tuple[str, str]
    ) -> None:
        server.execute("alter role {} connection limit 0", limited[0])
        with pytest.raises(WarehouseError, match=r"too many connections.*a process needs 2"):
            Database(limited[1], "connectwise").__enter__()


class TestRights:
    def test_each_missing_right_is_named_with_what_gives_it(self, humble: tuple[str, Any]) -> None:
        """What the message says is run as it stands, and then it works."""
        dsn, admin = humble
        with pytest.raises(WarehouseError, match=r"grant temporary on database") as refused:
            migrate(dsn, "connectwise", [])
        for statement in str(refused.value).partition("in that database: ")[2].split("; "):
            admin.execute(statement)
        migrate(dsn, "connectwise", [])

    def test_schemas_that_an_administrator_made_need_no_right_to_make_more(
        self, humble: tuple[str, Any]
    ) -> None:
        dsn, admin = humble
        parts = conninfo_to_dict(dsn)
        admin.execute(f"grant temporary on database {parts['dbname']} to {parts['user']}")
        for schema in ("cw_sync", "connectwise", "reporting"):
            admin.execute(f"create schema {schema}")
            admin.execute(f"grant usage, create on schema {schema} to {parts['user']}")
        migrate(dsn, "connectwise", entities())
        assert publish(dsn, "connectwise")
        assert publish(dsn, "connectwise") == []

    def test_a_right_to_use_a_schema_that_is_there_is_named(self, humble: tuple[str, Any]) -> None:
        dsn, admin = humble
        admin.execute("create schema reporting")
        with (
            pytest.raises(WarehouseError, match=r"grant usage, create on schema reporting to"),
            transaction(dsn) as connection,
        ):
            create_schemas(connection, "reporting")


def test_no_id_counts_up_by_itself(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select count(*) from pg_attrdef d join pg_class c on c.oid = d.adrelid"
            " where c.relnamespace = 'connectwise'::regnamespace"
            " and pg_get_expr(d.adbin, d.adrelid) like '%nextval%'"
        ).fetchone()
    assert row == (0,)
