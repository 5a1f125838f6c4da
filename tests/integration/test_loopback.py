"""BI tools reach the embedded warehouse by TCP, when asked to, and read the reports alone."""

from __future__ import annotations

import shutil
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors

from cw_pipeline.cli.services import _addresses as addresses
from cw_pipeline.dev import services
from cw_pipeline.errors import ConfigError
from cw_pipeline.settings import Settings
from cw_pipeline.warehouse import migrate
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Of a warehouse that is not named: the embedded one, with a report in it."""
    home = Path(tempfile.mkdtemp(prefix="cw-loopback-"))
    home.chmod(0o711)  # root's server runs under another account, which passes through here
    own = Settings(pg_home=str(home / "postgres"))
    server = services.postgres(own)
    with ExitStack() as stack:
        migrate(stack.enter_context(server).dsn(), "connectwise", [])
        connection = stack.enter_context(psycopg.connect(server.dsn()))
        connection.execute("create schema reporting")
        connection.execute("create table reporting.fct_ticket as select generate_series(1, 9) id")
        connection.execute("create table public.secret (id int)")
        connection.commit()
        yield own
    shutil.rmtree(home)


def address(port: int, password: str) -> str:
    return f"postgresql://bi:{password}@127.0.0.1:{port}/cw_warehouse"


def ask(dsn: str, query: str) -> list[Any]:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_tool_reads_the_reports_on_the_port_and_nothing_else(settings: Settings) -> None:
    port = free_port()
    with services.bi_port(settings, "connectwise", port) as password:
        dsn = address(port, password)
        assert ask(dsn, "select count(*) from reporting.fct_ticket") == [(9,)]
        for refused in ("table public.secret", "create table reporting.mine ()"):
            with pytest.raises(errors.InsufficientPrivilege):
                ask(dsn, refused)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            ask(address(port, "guess"), "select 1")


def test_large_answers_and_many_tools_at_once_come_through(settings: Settings) -> None:
    port = free_port()
    with (
        services.bi_port(settings, "connectwise", port) as password,
        ExitStack() as stack,
    ):
        open_ones = [
            stack.enter_context(psycopg.connect(address(port, password))) for _ in range(8)
        ]
        for connection in open_ones:
            rows = connection.execute("select repeat('x', 1000) from generate_series(1, 2000)")
            assert sum(len(row[0]) for row in rows) == 2_000_000


def test_a_query_can_be_cancelled_through_the_port(settings: Settings) -> None:
    port = free_port()
    with (
        services.bi_port(settings, "connectwise", port) as password,
        psycopg.connect(address(port, password)) as connection,
    ):
        later = Timer(0.5, connection.cancel_safe)
        later.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute("select pg_sleep(30)")
        later.join()


def test_the_port_is_closed_with_the_command_and_whoever_used_it_is_cut_off(
    settings: Settings,
) -> None:
    port = free_port()
    with services.bi_port(settings, "connectwise", port) as password:
        left = psycopg.connect(address(port, password), autocommit=True)
    with pytest.raises(psycopg.OperationalError):
        left.execute("select 1")
    left.close()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        ask(address(port, password), "select 1")


def test_the_password_is_another_each_time_and_the_old_one_ends(settings: Settings) -> None:
    port = free_port()
    with services.bi_port(settings, "connectwise", port) as old:
        pass
    with services.bi_port(settings, "connectwise", port) as new:
        assert new != old
        with pytest.raises(psycopg.OperationalError, match="password"):
            ask(address(port, old), "select 1")
        told = addresses(port, services.BI_ROLE, new)
    assert told.count(new) == 4
    assert f"jdbc:postgresql://127.0.0.1:{port}/cw_warehouse" in told
    log = services.postgres(settings).home / "server.log"
    assert new not in log.read_text(errors="replace")


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=rf"--bi {port}: .*[Cc]hoose another port"),
            services.bi_port(settings, "connectwise", port),
        ):
            pass


def test_a_warehouse_that_is_not_the_embedded_one_needs_no_port() -> None:
    own = Settings(warehouse_dsn="postgresql://dw@db.example.com/dw")
    with (
        pytest.raises(ConfigError, match="CW_WAREHOUSE_DSN names another"),
        services.bi_port(own, "connectwise", 5433),
    ):
        pass
