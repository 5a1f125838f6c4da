"""What `up` starts ends with it, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

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
