"""Dagster's own programs, started by themselves while the embedded server is stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import pytest

from cw_pipeline.dagster.storages import EmbeddedPostgresStorage
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.dev.postgres import RUNS, use_until_exit
from cw_pipeline.dev.services import delete_local_data, prepared_home
from cw_pipeline.errors import WarehouseError
from cw_pipeline.paths import ROOT
from cw_pipeline.settings import Settings
from tests import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DAGSTER = [sys.executable, "-W", "ignore", "-m"]
USED = "from cw_pipeline.dev.postgres import use_until_exit; from pathlib import Path; import sys;"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A DAGSTER_HOME as `cw-pipeline setup` leaves it: no server was ever started there."""
    tmp_path.chmod(0o755)  # root's server runs under another account, which passes through here
    home = tmp_path / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    prepared_home(Settings())
    yield home
    delete_local_data(Settings())


def server(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(home / "postgres")


def validated() -> subprocess.CompletedProcess[str]:
    command = [*DAGSTER, "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.timeout(240)
def test_definitions_validate_and_the_daemon_start_the_server_and_the_last_one_stops_it(
    home: Path,
) -> None:
    assert not server(home).was_made()
    done = validated()
    assert done.returncode == 0, done.stderr
    assert "All code locations passed" in done.stderr + done.stdout
    assert server(home).was_made()
    assert not server(home).is_up()  # its only user is gone

    daemon = [*DAGSTER, "dagster._daemon", "run", "-w", "workspace.yaml"]
    with processes.running(daemon, home / "daemon.log"):
        eventually(lambda: "Instance is configured with" in (home / "daemon.log").read_text())
        assert server(home).is_up()
        with server(home), dg.DagsterInstance.get() as instance:
            assert instance.get_runs() == []
            # It asks every few seconds, and keeps the connections that it asks by.
            eventually(lambda: len(_kept(server(home))) >= 3)
    eventually(lambda: not server(home).is_up())
    assert "Error" not in (home / "daemon.log").read_text()


def _kept(postgres: EmbeddedPostgres) -> list[Any]:
    """The connections to Dagster's storage that have had nothing to do for a second."""
    idle = (
        "select from pg_stat_activity where datname = %s and state_change < now() - interval '1s'"
    )
    with psycopg.connect(postgres.admin_dsn()) as connection:
        return connection.execute(idle, [RUNS]).fetchall()


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_processes_that_come_at_once_start_one_server_and_stop_it_once(home: Path) -> None:
    program = f"{USED} use_until_exit(Path(sys.argv[1])); import time; time.sleep(0.3)"
    command = [sys.executable, "-c", program, str(server(home).home)]
    with server(home):  # a command, say, that has just started it
        started = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    for process in started:
        assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 0)
    assert not server(home).is_up()


def test_a_process_that_uses_the_server_anyway_stops_it_at_the_end_of_its_block(
    home: Path,
) -> None:
    with server(home) as used:
        assert use_until_exit(home / "postgres").dsn() == used.dsn()
    assert not used.is_up()


def test_what_keeps_the_server_from_starting_is_said_with_what_to_do(home: Path) -> None:
    other = server(home).home
    other.write_text("no folder of this account's")
    try:
        with pytest.raises(WarehouseError, match=r"CW_DAGSTER_PG_URL.*setup` write") as refused:
            EmbeddedPostgresStorage.from_config_value(None, {"server": str(other)})
        assert f"Cannot use {other}" in str(refused.value)
        assert "under the account" in str(refused.value)
    finally:
        other.unlink()
