"""Where runs are measured: a page server and a PostgreSQL, and databases made for one run each."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.errors import PipelineError
from cw_pipeline.paths import ROOT
from cw_pipeline.sync.context import Limits
from cw_pipeline.warehouse import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

TICKETS = "service/tickets"
SCHEMA = "connectwise"
UNHURRIED = 10_000_000
"""Requests a minute where the budget is not what is measured."""


class BenchFailed(PipelineError):
    """A run of the benchmark did not do what it was to measure."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured run: `costs` as the process printed them."""

    costs: dict[str, Any] = field(repr=False)

    @property
    def wall(self) -> float:
        """Seconds of the work itself, without the process's start."""
        return float(self.costs["wall"])

    @property
    def rows(self) -> int:
        """Rows read, or copied."""
        return int(self.costs["rows_read"])

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.wall

    def a_million(self, whose: str) -> float | None:
        """CPU seconds of `client`, `postgres` or `server` for a million rows."""
        spent = self.costs.get(whose)
        return None if spent is None or not self.rows else float(spent) / self.rows * 1e6


class Lab:
    """A context manager that starts both servers and leaves nothing behind.

    `distinct`: how many different tickets the server makes. Raises ConfigError or WarehouseError.
    """

    def __init__(self, distinct: int, dsn: str | None = None) -> None:
        self._distinct = distinct
        self._given = dsn
        self._stack = ExitStack()
        self.url = ""
        self._admin = ""
        self._home = Path()
        self._server_pid = 0
        self._templates: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._home = Path(tempfile.mkdtemp(prefix="cw-bench-"))
            stack.callback(shutil.rmtree, self._home, ignore_errors=True)
            self._home.chmod(0o711)  # root's server runs under another account
            server = stack.enter_context(process("cw_pipeline.bench.server", str(self._distinct)))
            self._admin = self._given or stack.enter_context(self._postgres())
            self._owner = self._given or self._own
            stack.callback(self._drop_templates)
            self.url = first_line(server)
            self._server_pid = server.pid
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        """A place for files, gone at the end."""
        return self._home

    @property
    def lanes(self) -> int:
        """How many ranges a first load is read in beside its tail, unless a run says otherwise."""
        return Limits().concurrency

    @contextmanager
    def database(self, entities: str = TICKETS) -> Iterator[str]:
        """The URL of a database with the empty tables of these entities."""
        if entities not in self._templates:
            self._templates[entities] = self._made_template(entities)
        name = self._create(self._templates[entities])
        try:
            yield _at(self._owner, name)
        finally:
            self._drop(name)

    def sync(
        self,
        dsn: str,
        company: str,
        entities: str = TICKETS,
        *,
        full: bool = False,
        proof: bool = False,
        site: str | None = None,
        **settings: object,
    ) -> Measurement:
        """One sync, or proof, of these entities in a fresh process. Raises BenchFailed."""
        environment = self.settings(dsn, company, entities, site=site, **settings)
        what = "proof" if proof else "full" if full else ""
        run = self.process("cw_pipeline.bench.worker", what, environment=environment)
        if run.costs["failures"]:
            raise BenchFailed("; ".join(run.costs["failures"]))
        return run

    def settings(
        self, dsn: str, company: str, entities: str, *, site: str | None = None, **more: object
    ) -> dict[str, str]:
        """The environment of a process that keeps these entities in this database."""
        settings = {
            "site": site or self.url,
            "company": company,
            "public_key": "public",
            "private_key": "private",
            "client_id": "00000000-0000-4000-8000-000000000000",
            "warehouse_dsn": dsn,
            "schema": SCHEMA,
            "entities": entities,
            "requests_per_minute": UNHURRIED,
            **more,
        }
        return _clean() | {f"CW_{name.upper()}": str(value) for name, value in settings.items()}

    def dump(self, dsn: str) -> None:
        """Puts the rows of a loaded database into files, in two halves, for `copy`."""
        entity = CATALOG[TICKETS]
        key = {entity.table: "id"} | {array.table: "parent_id" for array in entity.arrays}
        with psycopg.connect(dsn) as connection:
            half = sql.SQL("select percentile_disc(0.5) within group (order by id) from {}").format(
                sql.Identifier(SCHEMA, entity.table)
            )
            row = connection.execute(half).fetchone()
            assert row is not None
            for part, sign in (("low", "<="), ("high", ">")):
                folder = self._home / "rows" / part
                folder.mkdir(parents=True, exist_ok=True)
                for table, column in key.items():
                    query = sql.SQL(
                        "copy (select * from {} where {} {} {}) to stdout (format binary)"
                    )
                    made = query.format(
                        sql.Identifier(SCHEMA, table),
                        sql.Identifier(column),
                        sql.SQL(sign),
                        sql.Literal(row[0]),
                    )
                    with (
                        (folder / f"{SCHEMA}.{table}.copy").open("wb") as file,
                        connection.cursor() as cursor,
                        cursor.copy(made) as stream,
                    ):
                        for piece in stream:
                            file.write(piece)

    def copy(self, dsn: str, connections: int) -> Measurement:
        """A raw COPY of the dumped rows in a fresh process."""
        arguments = (str(self._home / "rows"), str(connections))
        return self.process(
            "cw_pipeline.bench.rawcopy",
            *arguments,
            environment=_clean() | {"CW_WAREHOUSE_DSN": dsn},
        )

    def process(self, module: str, *arguments: str, environment: dict[str, str]) -> Measurement:
        """What a module printed after it ran in a process of its own, the page server watched."""
        self.settle()
        command = [sys.executable, "-m", module, str(self._server_pid), *arguments]
        done = subprocess.run(
            command,
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchFailed(f"{module} ended with {done.returncode}")
        return Measurement(json.loads(done.stdout))

    def order(self, what: str, dataset: str, **parameters: object) -> Any:  # noqa: ANN401
        """What the page server answers to who measures."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=600)
        try:
            connection.request("GET", f"/__{what}/{dataset}?{query}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def settle(self) -> None:
        """Writes out what earlier runs have left in memory, so that no run pays for another's."""
        with psycopg.connect(self._admin, autocommit=True) as connection:
            try:
                connection.execute("checkpoint")
            except psycopg.errors.InsufficientPrivilege:
                return  # a server of somebody else's

    def version(self) -> str:
        """PostgreSQL's version."""
        with psycopg.connect(self._admin) as connection:
            row = connection.execute("show server_version").fetchone()
        assert row is not None
        return str(row[0])

    @contextmanager
    def _postgres(self) -> Iterator[str]:
        server = EmbeddedPostgres(self._home / "postgres")
        with server:
            self._own = server.dsn()
            yield server.admin_dsn()

    def _made_template(self, entities: str) -> str:
        name = self._create("template1")
        migrate(_at(self._owner, name), SCHEMA, select(entities))
        return name

    def _create(self, template: str) -> str:
        name = f"cw_bench_{secrets.token_hex(6)}"
        role = urlsplit(self._owner).username or ""
        make = sql.SQL("create database {} template {} owner {}")
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(make.format(*map(sql.Identifier, (name, template, role))))
        return name

    def _drop(self, name: str) -> None:
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    def _drop_templates(self) -> None:
        for name in self._templates.values():
            self._drop(name)


@contextmanager
def process(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A module running in a process of its own, ended with the block."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=_clean(), cwd=ROOT
    ) as running:
        try:
            yield running
        finally:
            # Not terminate(): where our parent ignores SIGTERM so does the child, and is waited for
            # for ever. There is nothing that it would have to save.
            running.kill()


def command(folder: Path, settings: dict[str, str], *arguments: str) -> None:
    """Runs a command of ours to its end. Raises BenchFailed with what it said."""
    line = [sys.executable, "-m", "cw_pipeline", *arguments]
    log = folder / "command.log"
    with log.open("wb") as file:
        code = subprocess.call(line, env=settings, cwd=ROOT, stdout=file, stderr=file)
    if code:
        raise BenchFailed(log.read_text("utf-8")[-500:])


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def first_line(running: subprocess.Popen[str]) -> str:
    """What the process says once it is ready. Raises BenchFailed if it ends instead."""
    assert running.stdout is not None
    said = running.stdout.readline().strip()
    if not said:
        raise BenchFailed(f"{running.args!r} did not start")
    return said


def _clean() -> dict[str, str]:
    """The environment without settings of the pipeline's, and without those of a file."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CW_") or k == "CW_PG_BIN"}
    return kept | {"CW_ENV_FILE": os.devnull, "PYTHONPATH": str(ROOT)}


def _at(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()
