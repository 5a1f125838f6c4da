"""What many tenants in one Dagster cost: to load, to keep, and to ask.

    python -m tests.benchmarks.dagster_tenants --tenants 1 10 50

For each number: a code location with as many tenants of the usual lists in Dagster's own code
server, daemon and webserver, first idle, and then a tick of each tenant's schedule `refresh` that
finds nothing, one after the other and four at a time. Each tenant has a warehouse of its own, a
copy of a synced one; all ask the same made-up ConnectWise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value
from typing_extensions import override

from cw_pipeline.bench.meter import Meter, cpu_of_family, descendants, shared_memory
from cw_pipeline.dagster import (
    ConnectWiseTableProps,
    ConnectWiseTenant,
    ConnectWiseTranslator,
    build_connectwise_definitions,
)
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.dev.dagster_yaml import prepare_dagster_yaml
from cw_pipeline.dev.postgres import RUNS, WAREHOUSE
from cw_pipeline.paths import ROOT
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.simulator import CLIENT_ID, Simulator, seed_tenant

GIVEN = "BENCH_TENANTS"
"""Names the file that says which tenants the code location has."""


class _Named(ConnectWiseTranslator):
    """All schemas are called connectwise, each in a database of its own: keys get a prefix."""

    def __init__(self, name: str) -> None:
        self._name = name

    @override
    def get_asset_spec(self, props: ConnectWiseTableProps) -> dg.AssetSpec:
        spec = super().get_asset_spec(props)
        return spec.replace_attributes(key=spec.key.with_prefix(self._name))


def location() -> dg.Definitions:
    """The code location of the tenants that the file says."""
    told: dict[str, Any] = json.loads(Path(os.environ[GIVEN]).read_text())
    made = []
    for name, dsn in told["dsns"].items():
        tenant = ConnectWiseTenant(
            site=told["site"],
            company="demo",
            public_key="public",
            private_key="private",
            client_id=CLIENT_ID,
            warehouse_dsn=dsn,
            options={"refresh_cron": "0 0 1 1 *", "requests_per_minute": 1_000_000},
        )
        made.append(build_connectwise_definitions(tenant, translator=_Named(name), prefix=name))
    return dg.Definitions.merge(*made)


if GIVEN in os.environ:
    defs = location()


def load() -> None:
    """In a process of its own: loads the code location as a code server does, and asks."""
    repository = defs.get_repository_def()
    snapshot = len(serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True)))
    loaded = {"cpu": time.process_time(), "memory": shared_memory(os.getpid())}
    told = json.loads(Path(os.environ[GIVEN]).read_text())
    names = [*told["dsns"]]
    ticks: dict[str, Any] = {}
    with dg.DagsterInstance.get() as instance, psycopg.connect(told["dsns"][names[0]]) as one:

        def tick(name: str) -> str:
            context = dg.build_schedule_context(
                instance, datetime.now(UTC), repository_def=repository
            )
            found: Any = defs.resolve_schedule_def(f"{name}_refresh").evaluate_tick(context)
            return str(found.skip_message)

        for what, threads in (("first", 1), ("one by one", 1), ("four at a time", 4)):
            meter, cpu = Meter(one, None), time.process_time()
            with ThreadPoolExecutor(threads) as pool:
                said = set(pool.map(tick, names))
            cost = meter.cost()
            spent = time.process_time() - cpu
            ticks[what] = {"wall": cost.wall, "cpu": spent, "postgres": cost.postgres}
            ticks[what]["said"] = sorted(said)
        query = "select count(*) from pg_stat_activity where datname like 'tenant%'"
        (connections,) = one.execute(query).fetchone() or (0,)
    sys.stdout.write(
        json.dumps(
            loaded
            | {"snapshot": snapshot, "ticks": ticks, "connections": connections}
            | {"asking": shared_memory(os.getpid())}
        )
    )


def main() -> None:
    """Prints the figures of each number of tenants."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tenants", type=int, nargs="+", default=[1, 10, 50])
    asked.add_argument("--idle", type=float, default=120, help="seconds that Dagster is watched")
    options = asked.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home.chmod(0o711)
        server = stack.enter_context(EmbeddedPostgres(home / "postgres"))
        simulator = stack.enter_context(Simulator(seed_tenant(tickets=50, seed=7)))
        os.environ["DAGSTER_HOME"] = str(home)
        prepare_dagster_yaml(home, server.dsn(RUNS))
        _sync(simulator.url, server.dsn())
        dsns = _copies(server, max(options.tenants))
        files = {number: home / f"{number}.json" for number in options.tenants}
        for number, file in files.items():
            chosen = dict([*dsns.items()][:number])
            file.write_text(json.dumps({"site": simulator.url, "dsns": chosen}))
            _say(f"{number} tenants: {json.dumps(_asked(file))}")
        for number, file in files.items():
            _say(f"{number} tenants, Dagster: {json.dumps(_kept(file, number, options.idle))}")


def _sync(site: str, dsn: str) -> None:
    tenant = ConnectWiseTenant(
        site=site,
        company="demo",
        public_key="public",
        private_key="private",
        client_id=CLIENT_ID,
        warehouse_dsn=dsn,
        options={"requests_per_minute": 1_000_000},
    )
    with Pipeline(tenant.settings()) as pipeline:
        failures = [each.failure for each in pipeline.sync() if each.failure]
        assert not failures, failures[0]
        pipeline.publish()


def _copies(server: EmbeddedPostgres, number: int) -> dict[str, str]:
    found = {}
    with psycopg.connect(server.admin_dsn(), autocommit=True) as admin:
        for at in range(number):
            name = f"tenant_{at}"
            admin.execute(f"create database {name} template {WAREHOUSE} owner cw_pipeline".encode())
            found[name] = server.dsn(name)
    return found


def _asked(file: Path) -> Any:
    command = [sys.executable, "-W", "ignore", "-c"]
    command += ["from tests.benchmarks import dagster_tenants as it; it.load()"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, GIVEN: str(file)}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def _kept(file: Path, number: int, seconds: float) -> Any:
    """What Dagster's processes take while nothing happens."""
    log = file.with_suffix(".log")
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "-p", "0"]
    command += ["-m", "tests.benchmarks.dagster_tenants"]
    environment = {**os.environ, GIVEN: str(file), "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        while log.read_text("utf-8").count("live_events skipped") < number:  # until all were heard
            assert child.poll() is None, log.read_text("utf-8")[-2000:]
            time.sleep(2)
        before = {pid: cpu_of_family(pid) for pid, _ in descendants(child.pid)}
        time.sleep(seconds)
        found = {}
        for pid, line in descendants(child.pid):
            for what in (" api grpc ", "code-server", "dagster_webserver", "dagster._daemon"):
                if what in line and pid in before:
                    cpu = (cpu_of_family(pid) - before[pid]) / seconds * 60
                    found[what.strip()] = {
                        "cpu a minute": round(cpu, 2),
                        "load": round(before[pid], 1),
                        "memory": shared_memory(pid),
                    }
        return found
    finally:
        child.terminate()
        child.wait()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
