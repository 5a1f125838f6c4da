"""Dagster's code server, webserver and daemon, for `up`.

`dagster dev` has two processes more, its own and one that watches over the code server, and each of
the five imports Dagster for itself. Here one imports it, and the others are forked from that, so
that they share what none of them writes to.

    python -m cw_pipeline.cli.dagster_processes PORT LOCATION

A run's process, which is started anew, imports this module too: it must cost nothing.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cw_pipeline.cli import supervise
from cw_pipeline.paths import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

_DEFINITIONS = "cw_pipeline.dagster.definitions"
_CODE_SERVER, _WEBSERVER, _DAEMON = "dagster", "dagster-webserver", "dagster-daemon"
_SHARED = ("dagster_postgres", "cw_pipeline.dagster.storages")
_FORKS = sys.platform == "linux"  # on macOS a fork that goes on may crash in the system's libraries
_QUIET = {
    "GRPC_VERBOSITY": "ERROR",  # else it says at each fork which of its hooks are left out
    "PYTHONWARNINGS": "ignore",  # they speak to developers
    "MALLOC_ARENA_MAX": "1",  # glibc: the heaps of threads, of little use to each other
    # How often Dagster looks for failed runs to try again; 5 takes a tenth of what the daemon does.
    "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "30",
}


def command(port: int, location: str) -> list[str]:
    """What starts them, with the UI on this port of 127.0.0.1."""
    return [sys.executable, "-m", __name__, str(port), location]


def environment() -> dict[str, str]:
    """What they are started with: what somebody has set goes before what is good for them."""
    return {**_QUIET, **os.environ}


def ends_with_parent() -> Callable[[int], object]:
    """What a process calls to get a signal when its parent ends; nothing but on Linux."""
    if sys.platform != "linux":
        return lambda _: None
    import ctypes  # noqa: PLC0415 - after the fork it could wait for a lock that nobody frees

    prctl, on_death_of_parent = ctypes.CDLL(None).prctl, 1
    return lambda number: prctl(on_death_of_parent, number)


def main(port: int, location: str) -> int:
    """Starts them, and becomes what waits for them; returns only where that fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="cw-up-"))  # for its owner alone
    address, workspace = folder / "socket", folder / "workspace.yaml"
    workspace.write_text(
        "load_from:\n  - grpc_server:\n"
        f'      socket: "{address}"\n      location_name: "{location}"\n'
    )
    code = ["--module-name", _DEFINITIONS, "--working-directory", str(PROJECT)]
    code += ["--location-name", location, "--inject-env-vars-from-instance"]
    code += ["--lazy-load-user-code", "--use-python-environment-entry-point"]
    quiet = ["--log-level", "warning"]
    here = ["--host", "127.0.0.1", "--port", str(port), "--dagster-log-level", "warning"]
    running: dict[int, str] = {}
    try:
        if _FORKS:
            _import_what_is_shared()
        serve = ["api", "grpc", "--socket", str(address), *code, *quiet]
        running[_start(_CODE_SERVER, *serve)] = "code server"
        while not address.exists():  # else webserver and daemon say that they cannot reach it
            if os.waitpid(-1, os.WNOHANG)[0]:
                return 1
            time.sleep(0.1)
        running[_start(_WEBSERVER, "-w", str(workspace), *quiet, *here)] = "webserver"
        running[_start(_DAEMON, "run", "-w", str(workspace), *quiet)] = "daemon"
    except KeyboardInterrupt:
        supervise.stop(running)
        return 0
    named = [f"{name}={pid}" for pid, name in running.items()]
    words = [sys.executable, "-I", supervise.__file__, str(port), str(folder), *named]
    return os.execv(words[0], words)  # noqa: S606


def _import_what_is_shared() -> None:
    for name in (_CODE_SERVER, _WEBSERVER, _DAEMON):
        _program(name)
    for module in _SHARED:
        import_module(module)
    gc.collect()
    gc.freeze()  # a collection would write to all of it


def _program(name: str) -> Any:  # noqa: ANN401 - click's
    """The function that one of Dagster's programs is."""
    (found,) = entry_points(group="console_scripts", name=name)
    return found.load()


def _start(name: str, *arguments: str) -> int:
    """Starts one of Dagster's programs: the id of its process, which is a group of its own."""
    if not _FORKS:
        beside = Path(sys.executable).with_name(name)
        return subprocess.Popen([beside, *arguments], start_new_session=True).pid
    if pid := os.fork():
        return pid
    code: Any = 1
    try:
        os.setpgrp()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ends_with_parent()(signal.SIGTERM)
        Path("/proc/self/comm").write_text(name)  # for `top`, and for the benchmark
        sys.argv = [name, *arguments]
        code = _program(name)()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - nobody is above us
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else bool(code))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
