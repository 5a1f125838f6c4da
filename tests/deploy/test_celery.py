"""Runs and steps at Celery's workers, as dagster_home/deploy describes it, with Postgres storage.

Opt-in: it runs where the extra `celery` and a Redis server are installed, and is skipped elsewhere.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml

from cw_pipeline.paths import ROOT
from cw_pipeline.simulator import CLIENT_ID, Simulator, Tenant
from tests import processes
from tests.story.test_dagster_ui import LOADED, Dagster, configure, dagster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("dagster_celery", reason="the extra `celery` is not installed")
REDIS = shutil.which("redis-server")
pytestmark = [
    pytest.mark.skipif(REDIS is None, reason="no Redis server is installed"),
    pytest.mark.timeout(600),
]
DEPLOY = ROOT / "dagster_home" / "deploy"
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test's own."""
    port = processes.free_port()
    command = [str(REDIS), "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with processes.running(command, tmp_path / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.parametrize("what", ["runs", "steps"])
def test_workers_of_celery_do_the_work(
    what: str, broker: str, dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    tenant = Tenant()
    tenant.put("/company/companies", {"id": 1, "name": "Acme", "identifier": "acme"})
    tenant.put("/service/boards", {"id": 1, "name": "Service"})
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(tenant))
        settings = {
            "site": simulator.url,
            "company": "demo",
            "public_key": "public",
            "private_key": "private",
            "client_id": CLIENT_ID,
            "warehouse_dsn": dsn,
            "schema": "acme",
            "entities": "company/companies,service/boards",
            "refresh_cron": "0 0 1 1 *",
            "dagster_pg_url": empty_dsn,
            "executor": "celery" if what == "steps" else "in_process",
        }
        told = {f"CW_{name.upper()}": value for name, value in settings.items()}
        celery = {"DAGSTER_CELERY_BROKER": broker, "DAGSTER_CELERY_BACKEND": broker}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**told, **celery}.items():
                patch.setenv(name, value)
            launcher = yaml.safe_load((DEPLOY / "celery" / "run_launcher.yaml").read_text())
            configure(tmp_path, launcher if what == "runs" else {}, empty_dsn)
            ui = stack.enter_context(dagster(tmp_path, **settings))
            stack.enter_context(_worker("acme", tmp_path))
            _refresh(ui)
            run = ui.eventually(lambda: ui.finished("cw/trigger", "test"), 300)
    worker = (tmp_path / "worker.log").read_text()
    assert run["status"] == "SUCCESS", worker[-4000:] + ui.log.read_text()[-4000:]
    assert ("execute_job" if what == "runs" else "execute_plan") in worker
    with psycopg.connect(dsn) as warehouse:
        assert warehouse.execute("select name from acme.company_companies").fetchall() == [
            ("Acme",)
        ]
    with psycopg.connect(empty_dsn) as storage:
        assert storage.execute("select status from runs").fetchall() == [("SUCCESS",)]


@contextmanager
def _worker(queue: str, home: Path) -> Iterator[None]:
    """A tenant's worker, started with the documented command and the tenant's settings."""
    program = str(Path(sys.executable).with_name("dagster-celery"))
    command = [program, "worker", "start", "-A", "dagster_celery.app", "-q", queue]
    command += ["-y", str(DEPLOY / "celery" / "worker.yaml")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with processes.running(command, home / "worker.log", DAGSTER_HOME=str(home), PATH=path):
        yield


def _refresh(ui: Dagster) -> None:
    ui.eventually(lambda: ui.ask(LOADED)["locationEntries"][0]["loadStatus"] == "LOADED")
    selector: dict[str, Any] = {
        "repositoryLocationName": "cw_pipeline",
        "repositoryName": "__repository__",
        "jobName": "refresh",
    }
    tags = [{"key": "cw/trigger", "value": "test"}]
    params = {"selector": selector, "executionMetadata": {"tags": tags}, "runConfigData": {}}
    launched = ui.ask(LAUNCH, params=params)
    assert launched["__typename"] == "LaunchRunSuccess", launched
