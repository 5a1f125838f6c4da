"""Dagster's code server, webserver and daemon, for `up`.

`dagster dev` has two processes more, its own and one that watches over the code server, and each of
the five imports Dagster for itself. Here one imports it, and the others are forked from that, so
that they share what none of them writes to.

    python -m cw_pipeline.cli.dagster_processes PORT LOCATION

A run's process, which is started anew, imports this module too, as `__mp_main__`: it must cost
nothing.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cw_pipeline.cli import supervise
from cw_pipeline.paths import PROJECT
from cw_pipeline.process import give_memory_back_once_loaded

if TYPE_CHECKING:
    from collections.abc import Callable

_DEFINITIONS = "cw_pipeline.dagster.definitions"
_CODE_SERVER, _WEBSERVER, _DAEMON = "dagster", "dagster-webserver", "dagster-daemon"
_SHARED = ("dagster_postgres", "cw_pipeline.dagster.storages", "psycopg2.extras", "upath")
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
    from cw_pipeline.dev.postgres import temporary_folder  # noqa: PLC0415 - it would cost a run

    supervise.interrupt_once()
    folder = Path(tempfile.mkdtemp(prefix="cw-up-", dir=temporary_folder()))  # its owner's alone
    running: dict[int, str] = {}
    code = 0
    try:
        if ended := _start_all(port, location, folder, running):
            supervise.say(f"{running[ended]} has ended, so the others are not started")
            code = 1
        else:
            named = [f"{name}={pid}" for pid, name in running.items()]
            words = [sys.executable, "-I", supervise.__file__, str(port), str(folder), *named]
            os.execv(words[0], words)  # noqa: S606
    except KeyboardInterrupt:
        pass
    finally:  # not after execv, which has no end: that program does the same
        supervise.stop(running)
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _start_all(port: int, location: str, folder: Path, running: dict[int, str]) -> int:
    """Notes in `running` what it starts, by process id; the id of one that ended at once, or 0."""
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
    if _FORKS:
        _import_shared(_CODE_SERVER)
    serve = ["api", "grpc", "--socket", str(address), *code, *quiet]
    running[_start(_CODE_SERVER, *serve)] = "code server"
    if _FORKS:  # of which the code server has no use, and which it need not wait for
        _import_shared(_WEBSERVER, _DAEMON)
        import_module("cw_pipeline.dagster.internals").look_seldom_for_new_code()
    while not address.exists():  # else webserver and daemon say that they cannot reach it
        if ended := os.waitpid(-1, os.WNOHANG)[0]:
            return ended
        time.sleep(0.1)
    running[_start(_WEBSERVER, "-w", str(workspace), *quiet, *here)] = "webserver"
    running[_start(_DAEMON, "run", "-w", str(workspace), *quiet)] = "daemon"
    return 0


def _import_shared(*programs: str) -> None:
    """Imports what the programs that are forked next have in common.

    Without collections, which find next to nothing in modules, and take a tenth of the time.
    """
    gc.disable()
    for name in programs:
        _program(name)
    for module in _SHARED:
        import_module(module)
    gc.freeze()  # a collection would write to all of it
    gc.enable()


def _program(name: str) -> Any:  # noqa: ANN401 - click's
    """The function that one of Dagster's programs is."""
    (found,) = entry_points(group="console_scripts", name=name)
    return found.load()


def _start(name: str, *arguments: str) -> int:
    """Starts one of Dagster's programs: the id of its process, which is a group of its own."""
    if not _FORKS:
        beside = Path(sys.executable).with_name(name)
        return subprocess.Popen([beside, *arguments], start_new_session=True).pid

    def become() -> object:
        os.setpgrp()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ends_with_parent()(signal.SIGTERM)
        with suppress(OSError):  # for `top`, and for the benchmark; some containers forbid it
            Path("/proc/self/comm").write_text(name)
        sys.argv = [name, *arguments]
        give_memory_back_once_loaded()
        return _program(name)()

    return os.fork() or run_to_exit(become)


def run_to_exit(program: Callable[[], object]) -> NoReturn:
    """Runs a program, and ends this process, a fork, as Python ends one: never above the caller.

    With what is registered for its exit: the last one out stops the embedded server.
    """
    code: Any = 1
    try:
        code = program()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - nobody is above us
        traceback.print_exc()
    try:
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
        atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing does in its forks
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else bool(code))


if __name__ == "__mp_main__":
    logging.setLoggerClass(import_module("cw_pipeline.dagster.failures").ConsoleLogger)

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
