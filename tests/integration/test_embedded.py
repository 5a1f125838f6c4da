"""The embedded PostgreSQL: shared, stopped by the last one out, and safe after any crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.dev import EmbeddedPostgres, binaries
from cw_pipeline.dev import postgres as embedded
from cw_pipeline.dev.cluster import serves_by_command
from cw_pipeline.errors import ConfigError, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account's server")

HOLD = """
import sys, time
from pathlib import Path
from cw_pipeline.dev import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), durable=False):
    print("up", flush=True)
    sys.stdin.read()
"""
ENSURE = HOLD.replace("with ", "").replace("False):", "False).ensure()").replace("\n    ", "\n")
BORN = """
import sys
from pathlib import Path
import psycopg
from cw_pipeline.dev import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as postgres:
    with psycopg.connect(postgres.dsn()) as connection:
        row = connection.execute("select pg_postmaster_start_time()").fetchone()
    print(row[0], flush=True)
    sys.stdin.read()
"""


@contextmanager
def passable_folder() -> Iterator[Path]:
    """A folder that the server's account may pass through, unlike pytest's own, also as root."""
    made = Path(tempfile.mkdtemp(prefix="cw-embedded-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def folder() -> Iterator[Path]:
    with passable_folder() as made:
        yield made


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The folder most tests share, because making a cluster is the slow part."""
    with passable_folder() as made:
        yield made / "postgres"


@pytest.fixture
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    """A server that is down, and is brought down at the end."""
    server = EmbeddedPostgres(home, durable=False)
    yield server
    server.stop()


@pytest.fixture
def fresh(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server that was never started."""
    server = EmbeddedPostgres(folder / "postgres", durable=False)
    yield server
    server.stop()


def started(code: str, home: Path) -> subprocess.Popen[str]:
    """A process that has the server up and holds on to it until its stdin is closed."""
    process = process_of(code, home)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def process_of(code: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def server_pid(postgres: EmbeddedPostgres) -> int:
    return int((postgres.home / "data" / "postmaster.pid").read_text().split()[0])


def test_data_outlives_the_server_which_stops_when_nobody_uses_it(
    postgres: EmbeddedPostgres,
) -> None:
    with postgres, psycopg.connect(postgres.dsn()) as connection:
        connection.execute("create table kept as select 42 as answer")
    assert not postgres.is_up()
    with postgres, psycopg.connect(postgres.dsn()) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


def test_the_pipeline_owns_its_databases_without_being_a_superuser(
    postgres: EmbeddedPostgres,
) -> None:
    with postgres:
        for database in ("cw_warehouse", "dagster"):
            with psycopg.connect(postgres.dsn(database)) as connection:
                connection.execute("create schema mine")
                row = connection.execute("select current_user, current_setting('is_superuser')")
                assert row.fetchone() == ("cw_pipeline", "off")


def test_nobody_gets_in_over_the_network_or_without_the_password(
    postgres: EmbeddedPostgres,
) -> None:
    with postgres:
        with psycopg.connect(postgres.dsn()) as connection:
            assert connection.execute("show listen_addresses").fetchone() == ("",)
        for role in ("cw_pipeline", "postgres"):
            guess = postgres.dsn().replace("cw_pipeline:", f"{role}:not")
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(guess)
        assert (postgres.home / "password").stat().st_mode & 0o077 == 0
        assert postgres.home.stat().st_mode & 0o077 == 0


def test_dsn_names_the_driver_that_is_asked_for(postgres: EmbeddedPostgres) -> None:
    with postgres:
        url = postgres.dsn("dagster", driver="postgresql+psycopg2")
    assert url.startswith("postgresql+psycopg2://cw_pipeline:")


def test_dsn_before_the_first_start_says_that_there_is_none(fresh: EmbeddedPostgres) -> None:
    with pytest.raises(WarehouseError, match="never started"):
        fresh.dsn()


def test_eight_processes_at_once_start_and_share_one_server(fresh: EmbeddedPostgres) -> None:
    processes = [process_of(BORN, fresh.home) for _ in range(8)]
    births = {process.stdout.readline() for process in processes if process.stdout}
    assert len(births) == 1
    for process in processes:
        process.communicate("", timeout=60)
    assert [process.returncode for process in processes] == [0] * 8
    assert not fresh.is_up()


def test_one_who_leaves_does_not_stop_the_server_of_another(postgres: EmbeddedPostgres) -> None:
    other = started(HOLD, postgres.home)
    with postgres:
        pass
    assert postgres.is_up()
    other.communicate("", timeout=30)
    assert not postgres.is_up()


def test_a_process_that_only_ensured_it_keeps_it_while_it_lives(
    postgres: EmbeddedPostgres,
) -> None:
    dagster = started(ENSURE, postgres.home)
    with postgres:
        pass
    assert postgres.is_up()
    dagster.communicate("", timeout=30)
    assert postgres.is_up(), "left running for the next process"
    with postgres:
        pass
    assert not postgres.is_up()


def test_the_server_of_a_killed_process_is_used_and_stopped_by_the_next(
    postgres: EmbeddedPostgres,
) -> None:
    victim = started(HOLD, postgres.home)
    victim.kill()
    victim.communicate()
    assert postgres.is_up()
    with postgres:
        pass
    assert not postgres.is_up()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it cannot be told apart")
def test_a_server_that_is_slow_to_answer_is_waited_for(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for one that is down, it was started once more, or left running by who stops it."""
    monkeypatch.setattr(embedded, "ANSWER", 1)
    postgres.ensure()
    pid = int((postgres.home / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(1.2, os.kill, (pid, signal.SIGCONT)).start()
    postgres.ensure()
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(1.2, os.kill, (pid, signal.SIGCONT)).start()
    assert postgres.stop()


def test_ctrl_c_in_one_terminal_leaves_the_server_to_the_others(
    postgres: EmbeddedPostgres,
) -> None:
    starter = started(HOLD, postgres.home)
    with postgres, psycopg.connect(postgres.dsn()) as connection:
        os.killpg(starter.pid, signal.SIGINT)
        starter.communicate()
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_killed_server_comes_back_although_its_pid_is_another_programs(
    folder: Path,
) -> None:
    postgres = EmbeddedPostgres(folder / "postgres")
    with postgres, psycopg.connect(postgres.dsn()) as connection:
        connection.execute("create table kept as select 42 as answer")
        connection.commit()
        os.kill(server_pid(postgres), signal.SIGKILL)
        while postgres.is_up():
            time.sleep(0.05)
        lock = postgres.home / "data" / "postmaster.pid"
        socket_lock = postgres.home / "run" / ".s.PGSQL.5432.lock"
        for file in (lock, socket_lock):
            file.write_text(file.read_text().replace(str(server_pid(postgres)), str(os.getpid())))
    with postgres, psycopg.connect(postgres.dsn()) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)


def test_only_the_server_of_a_folder_is_taken_for_it_where_commands_are_all_there_is() -> None:
    program = [sys.executable, "-c", "input()", "postgres", "-c", "unix_socket_directories=/ours"]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as server:
        assert serves_by_command(server.pid, Path("/ours"))
        assert not serves_by_command(server.pid, Path("/our"))
        server.communicate(b"\n")
    assert not serves_by_command(server.pid, Path("/ours"))


def test_a_first_start_cut_short_is_begun_anew(fresh: EmbeddedPostgres) -> None:
    unfinished = fresh.home / "init-1"
    unfinished.mkdir(parents=True)
    (unfinished / "postgresql.conf").touch()
    with fresh:
        assert fresh.is_up()
    assert not unfinished.exists()


def test_a_start_cut_short_before_the_databases_is_finished(postgres: EmbeddedPostgres) -> None:
    with postgres:
        with psycopg.connect(postgres.admin_dsn(), autocommit=True) as admin:
            admin.execute("drop database dagster")
        (postgres.home / "data" / "cw-prepared-2").unlink()
        postgres.ensure()
        psycopg.connect(postgres.dsn("dagster")).close()


@pytest.mark.parametrize("name", ["with space", 'quote\'d $HOME "x"', "long" * 40, "é,ü"])
def test_any_folder_will_do(folder: Path, name: str) -> None:
    with EmbeddedPostgres(folder / name, durable=False) as postgres:
        with psycopg.connect(postgres.dsn()) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert (folder / name / "data" / "PG_VERSION").exists()


def test_data_of_another_major_version_is_left_alone_and_said_so(
    fresh: EmbeddedPostgres,
) -> None:
    with fresh:
        pass
    (fresh.home / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(WarehouseError, match=r"made by PostgreSQL 12.*CW_PG_BIN"):
        fresh.ensure()


def test_programs_older_than_what_the_warehouse_needs_are_refused_before_they_make_anything(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in binaries.PROGRAMS:
        stand_in = folder / program
        stand_in.write_text("#!/bin/sh\n[ $1 = --version ] || exit 2\necho 'PostgreSQL 14.23'\n")
        stand_in.chmod(0o755)
    monkeypatch.setenv("CW_PG_BIN", str(folder))
    with pytest.raises(WarehouseError, match=r"PostgreSQL 14, and 15 or newer.*CW_PG_BIN"):
        EmbeddedPostgres(folder / "postgres-14").ensure()
    assert not (folder / "postgres-14" / "data").exists()


def test_a_folder_without_all_programs_is_refused_and_what_it_lacks_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in set(binaries.PROGRAMS) - {"pg_isready"}:
        (folder / program).touch()
    monkeypatch.setenv("CW_PG_BIN", str(folder))
    with pytest.raises(ConfigError, match=r"CW_PG_BIN: .* holds no pg_isready\."):
        EmbeddedPostgres(folder / "postgres")


def test_a_server_that_cannot_start_shows_its_log(fresh: EmbeddedPostgres) -> None:
    with fresh:
        pass
    (fresh.home / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(WarehouseError, match="no_such_setting"):
        fresh.ensure()


@as_root
def test_another_accounts_folder_is_refused(folder: Path) -> None:
    home = folder / "postgres"
    home.mkdir()
    os.chown(home, 12345, 12345)
    with pytest.raises(WarehouseError, match="CW_PG_HOME"):
        EmbeddedPostgres(home, durable=False).ensure()


@as_root
def test_roots_closed_folders_stay_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    programs = binaries.find()
    package = programs.parents[1]
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, closed / part.name, symlinks=True)
    inside = programs.relative_to(package.parent)
    monkeypatch.setenv("CW_PG_BIN", str(closed / inside))
    monkeypatch.setattr(binaries, "OUTSIDE", folder / "outside")
    with EmbeddedPostgres(closed / "postgres", durable=False) as postgres:
        assert postgres.home.parent == folder / "outside"
        with psycopg.connect(postgres.dsn()) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    with EmbeddedPostgres(closed / "postgres", durable=False) as again:
        assert again.home == postgres.home
    assert closed.stat().st_mode & 0o777 == 0o700
    assert len(list((folder / "outside").glob("pg-*"))) == 1
