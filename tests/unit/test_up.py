"""What `up` starts ends with it, however it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from cw_pipeline.cli import supervise
from cw_pipeline.dev.postgres import temporary_folder

if TYPE_CHECKING:
    from pathlib import Path

_CHILD = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
_UP = "import sys; from cw_pipeline.cli.services import run_child; run_child(sys.argv[1:])"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell no child of it")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_dagster_ends_with_the_command_that_started_it(how: signal.Signals) -> None:
    command = [sys.executable, "-c", _UP, sys.executable, "-c", _CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as up:
        assert up.stdout is not None
        assert up.stdout.readline().strip().isdigit()  # the child runs
        up.send_signal(how)
        said, _ = up.communicate(timeout=60)  # the pipe closes once the child has ended, too
    assert said == b""


_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("stubborn", flush=True)
time.sleep(600)
"""
_FORKING = """
import os, sys
supervise, port, folder, last = sys.argv[1:]
def start(code):
    if pid := os.fork():
        return pid
    os.setpgrp()
    os.execv(sys.executable, [sys.executable, "-c", code])
run = "import subprocess; subprocess.run(['sleep', '600'])"
running = [f"code server={start(run)}", f"daemon={start(last)}"]
os.execv(sys.executable, [sys.executable, "-I", supervise, port, folder, *running])
"""


_LAST = {
    "itself": "import sys; sys.stdin.readline()",
    "a signal": "print('ready', flush=True); import time; time.sleep(600)",
    "two signals": _STUBBORN,
}


@pytest.mark.skipif(sys.platform == "win32", reason="it has no signals")
@pytest.mark.parametrize("ends_by", _LAST)
def test_all_of_dagster_ends_with_one_of_its_programs_or_by_a_signal_and_runs_too(
    ends_by: str, tmp_path: Path
) -> None:
    (folder := tmp_path / "made").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as ui:
        port = ui.getsockname()[1]
        words = [supervise.__file__, str(port), str(folder), _LAST[ends_by]]
        with subprocess.Popen(
            [sys.executable, "-c", _FORKING, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as up:
            assert up.stdout is not None
            said = [up.stdout.readline() for _ in range(1 if ends_by == "itself" else 2)]
            assert any(f"Dagster's UI: http://127.0.0.1:{port}" in each for each in said)
            if ends_by != "itself":
                up.send_signal(signal.SIGTERM)
            while ends_by == "two signals" and up.poll() is None:
                time.sleep(0.2)
                up.send_signal(signal.SIGINT)
            end, _ = up.communicate("\n", timeout=60)  # once runs do not hold the pipe either
    assert ("daemon has ended, so the others are stopped" in end) == (ends_by == "itself")
    assert up.returncode == (1 if ends_by == "itself" else 0)
    assert not folder.exists()


_FORK = """
import atexit, sys
from cw_pipeline.cli.dagster_processes import run_to_exit
atexit.register(print, "has left")
run_to_exit(lambda: sys.exit("the port is taken"))
"""


def test_a_program_that_is_forked_ends_like_one_that_is_started() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORK], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("has left\n", "the port is taken\n", 1)


@pytest.mark.parametrize(
    ("usual", "used"),
    [("/var/tmp", "/var/tmp"), ("/with space", "/tmp"), ("/long" * 11, "/tmp")],  # noqa: S108
)
def test_sockets_have_a_short_and_plain_path_whatever_the_temporary_folder_is(
    usual: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", usual)
    assert str(temporary_folder()) == used
