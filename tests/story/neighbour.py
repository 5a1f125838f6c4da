"""A second tenant in the same Dagster: its own simulator, schema, settings and code server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import yaml

from cw_pipeline.paths import ROOT
from cw_pipeline.simulator import CLIENT_ID, Simulator, Tenant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "globex"


@contextmanager
def neighbour(dsn: str, home: Path) -> Iterator[Path]:
    """The workspace file of a tenant with one company, served as dagster_home/deploy describes."""
    tenant = Tenant()
    company = {"id": 1, "name": NAME, "identifier": NAME}
    tenant.put("/company/companies", company, stamp=datetime(2026, 5, 10, tzinfo=UTC))
    with Simulator(tenant) as simulator:
        simulator.keys = simulator.keys.__class__(NAME, "public", "private", CLIENT_ID)
        settings = {
            "SITE": simulator.url,
            "COMPANY": NAME,
            "PUBLIC_KEY": "public",
            "PRIVATE_KEY": "private",
            "CLIENT_ID": CLIENT_ID,
            "WAREHOUSE_DSN": dsn,
            "SCHEMA": NAME,
            "CODE_LOCATION": NAME,
            "ENTITIES": "company/companies",
            "REFRESH_CRON": "0 0 1 1 *",
        }
        with _code_server({f"CW_{key}": value for key, value in settings.items()}, home) as port:
            workspace = home / f"{NAME}.yaml"
            server = {"grpc_server": {"port": port, "location_name": NAME}}
            workspace.write_text(yaml.safe_dump({"load_from": [server]}), "utf-8")
            yield workspace


@contextmanager
def _code_server(environment: dict[str, str], home: Path) -> Iterator[int]:
    """The port of a code server that has these settings."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "api", "grpc"]
    with (home / f"{NAME}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-m", "cw_pipeline.orchestrate.definitions", "-p", str(port)],
            cwd=ROOT,
            env={**os.environ, **environment, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
