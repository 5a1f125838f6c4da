"""A whole pipeline for a story: a tenant, the simulator that serves it, and a warehouse."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG
from cw_pipeline.cli import main
from cw_pipeline.connectwise import Policy
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import CLIENT_ID
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from tests.hostile import make_hostile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cw_pipeline.model import SyncResult
    from cw_pipeline.simulator import Simulator, Tenant
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse.ddl import Patience
    from tests.conftest import Server

SIMULATED_TIME = 10**9
HASTY = Policy(attempts=4, wait_initial=0.01, wait_max=0.02, patience=10)


@dataclass
class Story:
    """A tenant, its simulator and its warehouse; `sync` connects anew, as a new process would."""

    dsn: str
    simulator: Simulator
    tenant: Tenant
    options: dict[str, Any] = field(default_factory=dict)

    def settings(self, **options: Any) -> Settings:
        """Settings for this simulator and warehouse."""
        usual = {
            "site": self.simulator.url,
            "company": "demo",
            "public_key": "public",
            "private_key": "private",
            "client_id": CLIENT_ID,
            "warehouse_dsn": self.dsn,
            "requests_per_minute": 1_000_000,
            "timeout_seconds": 5,
            # `tenant.advance` moves the source's clock alone, to tell of hours that pass.
            "clock_tolerance_seconds": SIMULATED_TIME,
        }
        return Settings(**{**usual, **self.options, **options})

    @contextmanager
    def engine(self, patience: Patience | None = None, **options: Any) -> Iterator[SyncContext]:
        """A connected engine that does not wait long between tries."""
        settings = self.settings(**options)
        with Pipeline(settings, policy=HASTY, patience=patience) as pipeline:
            yield pipeline.connect()

    def sync(
        self, *names: str, plan: SyncRequest | None = None, **options: Any
    ) -> dict[str, SyncResult]:
        """The reports of syncing these entities once, by entity."""
        with self.engine(entities=",".join(names), **options) as engine:
            entities = [CATALOG[name] for name in names]
            return {r.entity: r for r in sync_entities(entities, engine, plan or SyncRequest())}

    def one(self, name: str, plan: SyncRequest | None = None, **options: Any) -> SyncResult:
        """The report of syncing one entity, which must not fail."""
        report = self.sync(name, plan=plan, **options)[name]
        if report.failure is not None:
            raise report.failure
        return report

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the warehouse answers to a query."""
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def table(self, name: str, *, deleted: bool = False) -> dict[int, dict[str, Any]]:
        """The entity's live rows by id; the deleted ones too, if asked for."""
        where = "" if deleted else " where _deleted_at is null"
        table = CATALOG[name].table
        found = self.rows(f"select * from connectwise.{table}{where}")  # noqa: S608
        return {row["id"]: row for row in found}

    def checkpoint(self, name: str) -> dict[str, Any]:
        """The entity's checkpoint, as stored."""
        (found,) = self.rows("select * from cw_sync.checkpoint where entity = %s", name)
        return found


@pytest.fixture
def story(dsn: str, simulator: Simulator, tenant: Tenant) -> Story:
    """An empty tenant and an empty warehouse."""
    return Story(dsn, simulator, tenant)


@pytest.fixture
def hostile_story(story: Story, server: Server, dsn: str) -> Story:
    """A story in a warehouse whose defaults are all otherwise than they are meant."""
    make_hostile(server, dsn)
    return story


@pytest.fixture
def pooled_hostile_story(hostile_story: Story, pooled_dsn: str) -> Story:
    """The same through a pooler."""
    hostile_story.dsn = pooled_dsn
    return hostile_story


@dataclass
class Shell:
    """A shell in which the settings name a simulated tenant and a warehouse of the test's own."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    dsn: str

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        self.capsys.readouterr()
        code = main(arguments)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.run(*arguments, "--json")[1])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        command = [sys.executable, "-m", "cw_pipeline", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query to the warehouse."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def shell(
    simulator: Simulator,
    dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    settings = {
        "CW_SITE": simulator.url,
        "CW_COMPANY": "demo",
        "CW_PUBLIC_KEY": "public",
        "CW_PRIVATE_KEY": "private",
        "CW_CLIENT_ID": CLIENT_ID,
        "CW_WAREHOUSE_DSN": dsn,
        "CW_ENTITIES": "service/tickets,service/boards,service/boards/types",
        "CW_REQUESTS_PER_MINUTE": "100000",
        "CW_CLOCK_TOLERANCE_SECONDS": str(SIMULATED_TIME),
        "DAGSTER_HOME": str(tmp_path),
        "CI": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Shell(capsys, monkeypatch, dsn)


@pytest.fixture
def few_records(tenant: Tenant) -> None:
    """Thirty tickets, a board and a type of it."""
    for at in range(1, 31):
        tenant.put("/service/tickets", {"id": at, "summary": f"Ticket {at}"})
    tenant.put("/service/boards", {"id": 1, "name": "Help Desk"})
    tenant.put("/service/boards/1/types", {"id": 1, "name": "Incident"})
