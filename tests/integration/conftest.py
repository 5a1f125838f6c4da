"""A warehouse to write to, and batches to write."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cw_pipeline.reporting import entities, publish
from cw_pipeline.warehouse import Database, migrate
from tests.conftest import _database as database
from tests.integration.others import as_admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server

ZONE = "America/New_York"


@pytest.fixture
def warehouse(dsn: str) -> Iterator[Database]:
    """This test's own migrated warehouse, opened."""
    with Database(dsn, "connectwise") as opened:
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
    server.create_role(role, "login password 'limited' connection limit 3")
    try:
        yield role, server.url(str(parts["dbname"]), role, "limited")
    finally:
        server.execute("drop role {}", role)


@pytest.fixture
def humble(server: Server, empty_dsn: str) -> Iterator[tuple[str, Any]]:
    """A role with nothing but CONNECT, and who may grant it more."""
    role = f"cw_test_{secrets.token_hex(6)}"
    parts = conninfo_to_dict(empty_dsn)
    server.create_role(role, "login password 'humble'")
    name = str(parts["dbname"])
    server.execute("revoke temporary on database {} from public", name)
    admin = psycopg.connect(server.admin, dbname=name, autocommit=True)
    try:
        yield server.url(name, role, "humble"), admin
    finally:
        admin.execute(f"drop owned by {role} cascade".encode())
        admin.close()
        server.execute("drop role {}", role)


@pytest.fixture(scope="session")
def publication(server: Server, owner: Owner, template: str) -> Iterator[str]:
    """The name of a database with a reporting schema, to make others from: that takes a while."""
    with database(server, owner, template) as url:
        migrate(url, "connectwise", entities())
        publish(url, "connectwise", ZONE)
        yield str(conninfo_to_dict(url)["dbname"])


@pytest.fixture
def people(server: Server, dsn: str, owner: Owner) -> Iterator[tuple[str, ...]]:
    """Roles: three that build views, of which our role is a member, and one that it is not."""
    ours = [f"cw_test_bi_{secrets.token_hex(3)}" for _ in range(3)]
    stranger = f"cw_test_Bob {secrets.token_hex(3)}"
    for name in (*ours, stranger):
        server.create_role(name)
    for name in ours:
        server.execute("grant {} to {}", name, owner.name)
    yield (*ours, stranger)
    as_admin(server, dsn, *(f'drop owned by "{name}" cascade' for name in (*ours, stranger)))
    for name in (*ours, stranger):
        server.execute("drop role {}", name)


@dataclass(frozen=True)
class Clients:
    """A published warehouse with rows of two clients, and logins."""

    dsn: str
    urls: dict[str, str]
    """The address of each login by what it is: acme and bolt are clients."""
    roles: dict[str, str]


@pytest.fixture(scope="module")
def clients(server: Server, owner: Owner, publication: str) -> Iterator[Clients]:
    """Made once for a module: its tests leave rows and grants as they are."""
    roles = {
        name: f"cw_test_{name}_{secrets.token_hex(3)}"
        for name in ("acme", "bolt", "branch", "pool", "server", "nobody")
    }
    for role in roles.values():
        server.create_role(role, "login password 'client'")
    with database(server, owner, publication) as dsn:
        name = str(conninfo_to_dict(dsn)["dbname"])
        urls = {own: server.url(name, role, "client") for own, role in roles.items()}
        try:
            yield Clients(dsn, urls, roles)
        finally:
            for role in roles.values():
                as_admin(server, dsn, f'drop owned by "{role}" cascade')
                server.execute("drop role {}", role)
