"""A warehouse to write to, and batches to write."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cw_pipeline.load import Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server


@pytest.fixture
def warehouse(dsn: str) -> Iterator[Warehouse]:
    """This test's own migrated warehouse, opened."""
    with Warehouse(dsn, "connectwise") as opened:
        yield opened


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def narrow_dsn(server: Server, owner: Owner, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database in which not every name can be stored."""
    name = f"cw_test_{secrets.token_hex(6)}"
    server.execute(
        f"create database {{}} template template0 encoding '{request.param}' locale 'C' owner {{}}",
        name,
        owner.name,
    )
    try:
        yield server.url(name, owner.name, owner.password)
    finally:
        server.execute("drop database {} with (force)", name)


@pytest.fixture
def limited(server: Server, dsn: str) -> Iterator[tuple[str, str]]:
    """A role that may open three connections, and its URL."""
    role, parts = f"cw_test_{secrets.token_hex(6)}", conninfo_to_dict(dsn)
    server.execute("create role {} login password 'limited' connection limit 3", role)
    try:
        yield role, server.url(str(parts["dbname"]), role, "limited")
    finally:
        server.execute("drop role {}", role)


@pytest.fixture
def humble(server: Server, empty_dsn: str) -> Iterator[tuple[str, Any]]:
    """A role with nothing but CONNECT, and who may grant it more."""
    role = f"cw_test_{secrets.token_hex(6)}"
    parts = conninfo_to_dict(empty_dsn)
    server.execute("create role {} login password 'humble'", role)
    name = str(parts["dbname"])
    server.execute("revoke temporary on database {} from public", name)
    admin = psycopg.connect(server.admin, dbname=name, autocommit=True)
    try:
        yield server.url(name, role, "humble"), admin
    finally:
        admin.execute(f"drop owned by {role} cascade".encode())
        admin.close()
        server.execute("drop role {}", role)
