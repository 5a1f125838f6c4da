"""What the tests stand on: a real PostgreSQL, and a simulated ConnectWise.

`CW_TEST_DSN` names a server to use, by a role that may create databases and roles; without it an
embedded one is started in a temporary folder. Migrations run once, into a template database; each
test gets a clone of it that it owns, dropped afterwards. What a killed run left behind is dropped
by the first run a day later.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.dev.account import Account
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator import Simulator, Tenant


CHAOS = 5
"""Histories of the chaos suite in a run that does not say how many."""


# A deadline for each example would fail whatever shares its machine with something else.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/chaos --histories 500 --first-seed 1000`."""
    parser.addoption("--histories", type=int, default=CHAOS, help="histories of the chaos suite")
    parser.addoption("--first-seed", type=int, default=0, help="the seed of the first of them")
    parser.addoption("--dbt", metavar="FOLDER", help="a virtual environment with dbt in it")
    parser.addoption("--power-bi", metavar="FOLDER", help="one with parsers of Power BI projects")
    parser.addoption("--metabase", metavar="FOLDER", help="one with the validator of its files")
    parser.addoption("--chart", metavar="FOLDER", help="Dagster's Helm chart")
    parser.addoption("--edit-histories", type=int, default=1, help="random days of edits")
    parser.addoption(
        "--server-faults", type=int, default=1, help="histories of faults of PostgreSQL"
    )
    parser.addoption("--simulations", type=int, default=5, help="simulated histories")
    parser.addoption("--soak-days", type=int, default=2, help="days of a tenant, simulated")
    parser.addoption("--image", action="store_true", help="run the Dockerfile's lines, as root")
    parser.addoption("--bench-live", action="store_true", help="the benchmark's case `live`, short")
    parser.addoption("--mutants", action="store_true", help="break the code: is each break seen?")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that wants `chaos_seed` runs once for each history."""
    if "chaos_seed" in metafunc.fixturenames:
        first, count = (metafunc.config.getoption(f"--{n}") for n in ("first-seed", "histories"))
        metafunc.parametrize("chaos_seed", range(first, first + count))
    if "simulation_seed" in metafunc.fixturenames:
        first, count = (metafunc.config.getoption(f"--{n}") for n in ("first-seed", "simulations"))
        metafunc.parametrize("simulation_seed", range(first, first + count))
    if "fault_seed" in metafunc.fixturenames:
        first, count = (
            metafunc.config.getoption(f"--{n}") for n in ("first-seed", "server-faults")
        )
        metafunc.parametrize("fault_seed", range(first, first + count))
    if "mutant" in metafunc.fixturenames:
        from tests.chaos.mutants import MUTANTS  # noqa: PLC0415 - of no other test's concern

        chosen = MUTANTS if metafunc.config.getoption("--mutants") else ()
        metafunc.parametrize("mutant", chosen, ids=[mutant.name for mutant in chosen])


_ROOM = 4 * 2**30
USUAL = (
    "service/tickets,service/tickets/notes,service/boards,service/boards/types,service/sources,"
    "project/tickets,company/companies,company/companies/sites,company/contacts,time/entries,"
    "finance/agreements,finance/agreements/additions,finance/invoices,sales/opportunities,"
    "sales/opportunities/forecast"
)
"""What most stories are about. A sync makes what is missing, and every clone costs its files."""


@pytest.fixture(autouse=True, scope="session")
def _no_real_tenant() -> Iterator[None]:
    """No test, and no process it starts, may touch a tenant that this machine is set up for.

    No file of settings is read either.
    """
    kept = {"CW_TEST_DSN", "CW_PG_BIN", "CW_VENV"}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CW_") and name not in kept]:
            patch.delenv(name)
        patch.setenv("CW_ENV_FILE", os.devnull)
        yield


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server on which tests make databases of their own."""

    admin: str

    def execute(self, statement: str, *names: str) -> None:
        """Runs one statement as the role of `CW_TEST_DSN`, with identifiers put in."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def create_role(
        self, name: str, options: str = "nologin", life: timedelta = timedelta(days=1)
    ) -> None:
        """Makes a role that the role of `CW_TEST_DSN` may act as: it need be no superuser then.

        After `life` another run may take it, and its databases, for left behind.
        """
        end = (datetime.now(UTC) + life).isoformat()
        self.execute(f"create role {{}} {options} valid until '{end}'", name)
        self.execute("grant {} to current_user", name)

    def drop_leftovers(self) -> None:
        """Drops the databases and roles of test runs that were killed.

        Each role carries the time when it may be dropped, because whether another run still uses
        it is not to be seen.
        """
        with psycopg.connect(self.admin, autocommit=True) as connection:
            # One run at a time: the others find nothing left to drop.
            connection.execute("select pg_advisory_lock(hashtext('cw_test'))")
            # Databases first: a role that owns something in one cannot be dropped.
            for drop, query in _LEFTOVERS.items():
                for (name,) in connection.execute(query).fetchall():
                    connection.execute(sql.SQL(drop).format(sql.Identifier(name)))

    def url(self, database: str, role: str, password: str) -> str:
        """The URL of one of its databases."""
        ours = {"user", "password", "dbname"}
        rest = {k: v for k, v in conninfo_to_dict(self.admin).items() if k not in ours}
        return f"postgresql://{role}:{password}@/{database}?{urlencode(rest)}"


_LEFTOVERS = {
    "drop database {} with (force)": """
        select datname from pg_database join pg_roles r on r.oid = datdba
         where rolname like 'cw\\_test\\_%' and rolvaliduntil < now()
    """,
    "drop role {}": """
        select rolname from pg_roles
         where rolname like 'cw\\_test\\_%' and rolvaliduntil < now()
    """,
}


@dataclass(frozen=True)
class Owner:
    """A role that owns the tests' databases and is no superuser, as in production."""

    name: str
    password: str


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server for all tests of this run."""
    if given := os.environ.get("CW_TEST_DSN"):
        yield Server(given)
        return
    folder = Path(tempfile.mkdtemp(prefix="cw-tests-", dir=memory()))
    folder.chmod(0o711)  # root's server runs under another account, which passes through here
    postgres = EmbeddedPostgres(folder / "postgres", durable=False)
    try:
        postgres.ensure()
        yield Server(postgres.admin_dsn())
    finally:
        postgres.stop()
        shutil.rmtree(folder)


def memory(folder: Path = Path("/dev/shm")) -> Path | None:  # noqa: S108 - it is only looked at
    """A file system in memory, if there is one with room: each test makes and drops a database.

    Containers often have one of 64 MB, or one that cannot be written; then it is None.
    """
    try:
        tempfile.TemporaryFile(dir=folder).close()
        return folder if shutil.disk_usage(folder).free > _ROOM else None
    except OSError:
        return None


@pytest.fixture(scope="session")
def owner(server: Server) -> Iterator[Owner]:
    """The role that owns every test's database."""
    server.drop_leftovers()
    role = Owner(f"cw_test_{secrets.token_hex(4)}", secrets.token_hex(16))
    server.create_role(role.name, f"login password '{role.password}'")
    yield role
    server.execute("drop role {}", role.name)


@contextmanager
def _database(server: Server, owner: Owner, template: str) -> Iterator[str]:
    """The URL of a new database, dropped at the end of the block."""
    name = f"cw_test_{secrets.token_hex(6)}"
    # file_copy beats the default several times over for a small template.
    server.execute(
        "create database {} template {} owner {} strategy file_copy", name, template, owner.name
    )
    try:
        yield server.url(name, owner.name, owner.password)
    finally:
        server.execute("drop database {} with (force)", name)


@pytest.fixture(scope="session")
def template(server: Server, owner: Owner) -> Iterator[str]:
    """The name of a migrated database with the tables of the usual entities."""
    # Imported here, so that tests without a database start without SQLAlchemy.
    from cw_pipeline.catalog import select  # noqa: PLC0415
    from cw_pipeline.warehouse import migrate  # noqa: PLC0415

    with _database(server, owner, "template1") as url:
        migrate(url, "connectwise", select(USUAL))
        yield str(conninfo_to_dict(url)["dbname"])


@pytest.fixture
def dsn(server: Server, owner: Owner, template: str) -> Iterator[str]:
    """The postgresql:// URL of this test's own migrated warehouse."""
    with _database(server, owner, template) as url:
        yield url


@pytest.fixture(scope="class")
def class_dsn(server: Server, owner: Owner, template: str) -> Iterator[str]:
    """The same, shared by the tests of a class."""
    with _database(server, owner, template) as url:
        yield url


@pytest.fixture
def empty_dsn(server: Server, owner: Owner) -> Iterator[str]:
    """The postgresql:// URL of this test's own empty database."""
    with _database(server, owner, "template1") as url:
        yield url


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer before the tests' server. Addresses that lead through it are `through` it."""

    port: int

    def through(self, dsn: str) -> str:
        """The same database and role, by way of the pooler."""
        own = {name: conninfo_to_dict(dsn)[name] for name in ("user", "password", "dbname")}
        return make_conninfo(host="127.0.0.1", port=self.port, **own)


_POOLER = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_file = {folder}/users
pool_mode = transaction
{options}
"""
_ROTATING = "server_round_robin = 1\nmin_pool_size = 3"


@pytest.fixture(scope="session", params=["", _ROTATING], ids=["usual", "rotating"])
def pooler(request: pytest.FixtureRequest, server: Server, owner: Owner) -> Iterator[Pooler]:
    """PgBouncer in transaction mode: with its defaults, and with sessions that rotate."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    account = Account.choose()  # as PostgreSQL, it does not run as root
    port = free_port()
    place = conninfo_to_dict(server.admin)
    server_place = " ".join(f"{name}={place[name]}" for name in ("host", "port") if name in place)
    with tempfile.TemporaryDirectory(prefix="cw-pooler-") as made:
        folder = Path(made)
        settings = {"server": server_place, "port": port, "folder": folder}
        (folder / "users").write_text(f'"{owner.name}" "{owner.password}"\n')
        (folder / "ini").write_text(_POOLER.format(options=request.param, **settings))
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.uid, account.gid)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, str(folder / "ini")], stdout=log, stderr=log, **account.switch
            )
        try:
            _wait_for(port)
            yield Pooler(port)
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "pgbouncer does not start"
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def pooled_dsn(dsn: str, pooler: Pooler) -> str:
    """The address of this test's own warehouse through the pooler."""
    return pooler.through(dsn)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    """An open connection to this test's own warehouse."""
    with psycopg.connect(dsn) as connection:
        yield connection


@pytest.fixture
def tenant() -> Tenant:
    """A ConnectWise tenant without a record."""
    from cw_pipeline.simulator import Tenant  # noqa: PLC0415

    return Tenant()


@pytest.fixture
def simulator(tenant: Tenant) -> Iterator[Simulator]:
    """A running ConnectWise that serves `tenant`."""
    from cw_pipeline.simulator import Simulator  # noqa: PLC0415

    with Simulator(tenant) as running:
        yield running
