"""A second tenant in the same Dagster: its own simulator, schema, settings and code server."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import yaml

from cw_pipeline.simulator import CLIENT_ID, Simulator, Tenant
from tests import processes

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
    port = processes.free_port()
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "api", "grpc"]
    command += ["-m", "cw_pipeline.dagster.definitions", "-p", str(port)]
    with processes.running(command, home / f"{NAME}.log", **environment, DAGSTER_HOME=str(home)):
        yield port
