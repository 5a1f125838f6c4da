"""The embedded ConnectWise: one process for all of the project, and records that outlive it."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from cw_pipeline.cli import main
from cw_pipeline.dev.services import (
    dev_services,
    environment_kept,
    export_services,
    postgres,
    prepared_home,
    start_dev_services,
)
from cw_pipeline.dev.simulator import CLIENT_ID, COMPANY, PRIVATE_KEY, PUBLIC_KEY, EmbeddedSimulator
from cw_pipeline.paths import ROOT, cli_command
from cw_pipeline.settings import Settings
from tests.story.simulated import ACCEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_is_left_running(tmp_path: Path) -> Iterator[None]:
    yield
    EmbeddedSimulator(tmp_path / "simulator").stop()


@pytest.fixture
def port(worker_id: str) -> str:
    """One that no test running beside this one takes while ours is stopped."""
    return str(18_700 + int(worker_id.removeprefix("gw").replace("master", "0")))


@pytest.fixture
def make(tmp_path: Path, port: str) -> Callable[[], EmbeddedSimulator]:
    """Makes the simulator of one folder, as each process of a project does."""
    return partial(last_served_at, port, tmp_path / "simulator")


def last_served_at(port: str, folder: Path) -> EmbeddedSimulator:
    """A small tenant's simulator that takes this port at its first start."""
    folder.mkdir(exist_ok=True)
    if not (folder / "serving").exists():
        (folder / "serving").write_text(f"{port} 0")
    return EmbeddedSimulator(folder, tickets=60)


def read(url: str, path: str) -> str:
    """A list as the simulator gives it, to the last byte."""
    answer = httpx.get(
        f"{url}/v2025_1/apis/3.0{path}",
        params={"pageSize": "1000"},
        auth=(f"{COMPANY}+{PUBLIC_KEY}", PRIVATE_KEY),
        headers={"clientId": CLIENT_ID, "Accept": ACCEPT},
    )
    assert answer.status_code == 200, answer.text
    return answer.text


def test_whoever_asks_what_it_holds_waits_until_it_can_say(
    make: Callable[[], EmbeddedSimulator],
) -> None:
    with make() as starting:  # it does not answer yet
        assert starting.about()["days"] == 0


def test_its_records_and_stamps_are_the_same_after_a_restart(
    make: Callable[[], EmbeddedSimulator],
) -> None:
    with make() as first:
        first.live_a_day()
        first.live_a_day()
        before = [read(first.url(), path) for path in ("/service/tickets", "/time/entries")]
        url = first.url()
    with make() as second:
        assert [
            read(second.url(), path) for path in ("/service/tickets", "/time/entries")
        ] == before
        assert second.url() == url
        assert (second.status() or {})["days"] == 2


def test_a_change_that_was_cut_off_in_the_middle_is_forgotten(
    make: Callable[[], EmbeddedSimulator],
) -> None:
    with make() as first:
        first.live_a_day()
        before = read(first.url(), "/service/tickets")
        journal = first.home / "changes.jsonl"
    with journal.open("a") as file:
        file.write('{"action":"added","path":"/service/tickets","rec')
    with make() as second:
        assert read(second.url(), "/service/tickets") == before
        second.live_a_day()
    with make() as third:
        assert third.status() is None or third.url()


def test_two_users_share_it_and_the_last_one_out_stops_it(
    make: Callable[[], EmbeddedSimulator],
) -> None:
    first, second = make(), make()
    with second:
        with first:
            first.url()
            pid = (first.status() or {})["pid"]
            second.begin()
            assert (second.status() or {})["pid"] == pid
        assert (second.status() or {})["pid"] == pid
    assert second.status() is None


def test_another_tenant_that_got_its_port_is_not_taken_for_it(
    make: Callable[[], EmbeddedSimulator], tmp_path: Path, port: str
) -> None:
    with make() as gone:
        assert gone.url().endswith(port)
    with last_served_at(port, tmp_path / "other") as other:
        assert other.url().endswith(port)
        assert gone.status() is None
        assert not gone.stop()
        assert other.status() is not None


def test_one_that_does_not_answer_yet_is_stopped_too(
    make: Callable[[], EmbeddedSimulator],
) -> None:
    with make() as ours:  # stopped on the way out, at once
        process = ours._process
    assert process is not None
    assert process.poll() is not None
    theirs = make()
    theirs.begin()
    while not theirs._is_served():
        time.sleep(0.001)
    assert make().stop()
    assert theirs._process is not None
    theirs._process.wait(timeout=30)
    assert not make().stop()


def test_a_killed_one_is_started_again(make: Callable[[], EmbeddedSimulator]) -> None:
    with make() as first:
        first.url()
        os.kill((first.status() or {})["pid"], signal.SIGKILL)
        with make() as second:
            assert second.url()


def test_nothing_is_started_beside_a_configured_tenant_and_warehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    settings = Settings(site="na.myconnectwise.net", warehouse_dsn="postgresql://elsewhere/dw")
    with dev_services(settings) as used:
        assert used == settings
    assert start_dev_services(settings) == settings
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["dagster.yaml"]


def test_processes_started_below_inherit_what_stands_in(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    EmbeddedSimulator(tmp_path / "simulator", tickets=60).begin()
    settings = Settings(warehouse_dsn=dsn)
    before = dict(os.environ)
    with dev_services(settings) as used, export_services(settings, used):
        inherited = Settings.read()
        assert inherited.site == used.site
        assert inherited.require_tenant().requests_per_minute == 60_000
        assert not inherited.is_simulated
    assert Settings.read().is_simulated
    assert dict(os.environ) == before


def test_down_stops_what_was_left_running(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("CW_WAREHOUSE_DSN", dsn)
    left = EmbeddedSimulator(tmp_path / "simulator", tickets=60)
    left.begin()
    left.url()
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Stopped: simulator.\n"
    assert left.status() is None
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Nothing was running.\n"


@pytest.fixture
def used_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME in which everything has been used, with both embedded parts running."""
    home = tmp_path / "dagster"
    (home / "deploy").mkdir(parents=True)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    tmp_path.chmod(0o755)  # root's server runs under another account, which passes through here
    with environment_kept():  # which names both for processes that this one would start
        start_dev_services(Settings.read())
    assert (home / "storage").is_dir()
    (home / "storage" / "runs.db").touch()
    (home / "report.html").touch()
    return home


def test_down_delete_removes_all_data_of_this_machine_and_leaves_what_was_configured(
    used_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.read()
    server = postgres(settings)
    runs = used_home / "dagster.yaml"
    before = runs.read_text()
    assert f'server: "{server.home}"' in before
    assert main(["down", "--delete", "--yes"]) == 0
    assert runs.read_text() == before  # started by itself, Dagster makes that server anew
    said = capsys.readouterr().out
    assert said.startswith("Stopped: simulator, PostgreSQL.\n")
    assert {path.name for path in used_home.iterdir()} == {"dagster.yaml", "deploy"}
    assert f"Deleted {used_home / 'storage'}\n" in said
    assert not server.home.exists()
    assert tmp_path.exists()
    assert main(["down", "--delete", "--yes"]) == 0
    assert capsys.readouterr().out == "Nothing was running.\nThere was nothing to delete.\n"


def test_down_delete_asks_and_deletes_nothing_where_nobody_answers(
    used_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        monkeypatch.setattr("sys.stdin", io.StringIO())  # as under cron
        assert main(["down", "--delete"]) == 2
        said = capsys.readouterr()
        assert str(used_home / "simulator") in said.out
        assert "--delete --yes" in said.err
        assert (used_home / "report.html").exists()
        assert main(["down", "--yes"]) == 2
        assert Settings.read().is_simulated
        assert postgres(Settings.read()).is_up()
    finally:
        assert main(["down", "--delete", "--yes"]) == 0


def test_a_command_is_named_as_it_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "my programs"
    programs.mkdir()
    monkeypatch.setattr("sys.executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert cli_command("down") == f"'{programs}/python' -m cw_pipeline down"
    (programs / "cw-pipeline").write_text("#!/bin/sh\n")
    (programs / "cw-pipeline").chmod(0o755)
    assert cli_command("down") == f"'{programs}/cw-pipeline' down"
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin")
    assert cli_command("setup", "--extra", "celery") == "cw-pipeline setup --extra celery"


def test_only_its_owner_controls_the_simulator(make: Callable[[], EmbeddedSimulator]) -> None:
    with make() as simulator:
        url, pid = simulator.url(), simulator.about()["pid"]
        for path in (f"/simulator/{pid}", "/simulator/", "/simulator/x"):
            assert httpx.get(url + path).status_code in (401, 404)
            assert httpx.post(f"{url}{path}/stop").status_code in (401, 404)
        assert simulator.status() is not None
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (simulator.home, simulator.home / "serving")
        }
        assert modes == {simulator.home.name: 0o700, "serving": 0o600}


def test_folders_of_state_are_their_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "new" / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("CW_WAREHOUSE_DSN", "postgresql://127.0.0.1/nowhere")
    prepared_home()
    (home / "storage").chmod(0o755)  # as a version before made it
    prepared_home()
    folders = [path for path in home.iterdir() if path.is_dir()]
    assert {path.name for path in folders} >= {"storage", "history", "schedules", "logs"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert stat.S_IMODE(home.stat().st_mode) in (0o700, 0o711)


def test_one_whose_users_were_killed_ends_by_itself(
    make: Callable[[], EmbeddedSimulator],
) -> None:
    with make() as another:
        pid = another.about()["pid"]
        program = (
            "import os, sys; from pathlib import Path;"
            " from cw_pipeline.dev.simulator import EmbeddedSimulator;"
            " used = EmbeddedSimulator(Path(sys.argv[1]), tickets=60).__enter__();"
            " print(used.about(), flush=True); sys.stdin.read()"
        )
        user = subprocess.Popen(
            [sys.executable, "-c", program, str(another.home)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert user.stdout is not None
        assert str(pid) in user.stdout.readline().decode()
    assert another.status() is not None  # another process uses it
    user.kill()
    user.communicate()
    while make().status() is not None:
        time.sleep(0.1)
    with make() as next_one:
        assert next_one.about()["pid"] != pid
