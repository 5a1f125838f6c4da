"""Waits for programs, and ends all of them when one ends or a signal comes.

    python -I cw_pipeline/cli/supervise.py PORT FOLDER NAME=PID...

Says once that the UI listens on PORT, and deletes FOLDER at the end. Run as a file, in place of the
process that has forked them: that one has imported all of Dagster, and would keep it for nothing.
So it imports nothing of ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_STEP, _PATIENCE = 0.1, 60  # seconds: between two looks, and for a program to end in
_SAME = 0.3  # seconds in which a second signal is the first one, sent to us twice
_ENDING = (signal.SIGINT, signal.SIGTERM)


def main(port: int, folder: str, running: Mapping[int, str]) -> int:
    """Exit code 1 if one of them ended by itself."""
    interrupt_once()
    try:
        while not (ended := os.waitpid(-1, os.WNOHANG)[0]) and not listens(port):
            time.sleep(_STEP)
        if not ended:
            say(f"Dagster's UI: http://127.0.0.1:{port}. Ctrl-C stops all of it.")
            ended, _ = os.wait()
        say(f"{running[ended]} has ended, so the others are stopped")
    except KeyboardInterrupt:
        return 0
    finally:
        stop(running)
        shutil.rmtree(folder, ignore_errors=True)
    return 1


def interrupt_once() -> None:
    """Has the first SIGINT or SIGTERM raise KeyboardInterrupt, and the next ones do nothing.

    One that came while programs are being stopped would leave the rest of them running.
    """

    def interrupt(*_: object) -> None:
        for each in _ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in _ENDING:
        signal.signal(each, interrupt)


def stop(running: Mapping[int, str]) -> None:
    """Ends these children of ours, the last first, and what each of them has started.

    Runs, too: else they would go on, for hours in a first load. The next goes on there. A signal
    that comes meanwhile kills all of them: somebody has pressed Ctrl-C twice.
    """
    begun = time.monotonic()

    def kill_all(*_: object) -> None:
        if time.monotonic() - begun > _SAME:
            for pid in running:
                _kill_group(pid)

    for each in _ENDING:
        signal.signal(each, kill_all)
    for pid in reversed([*running]):
        end = time.monotonic() + _PATIENCE
        try:
            os.killpg(pid, signal.SIGTERM)
        except ProcessLookupError:  # it is so new that it has no group of its own
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with suppress(ChildProcessError):
            while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < end:
                time.sleep(_STEP)
        _kill_group(pid)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS forbids it where all have ended
        os.killpg(pid, signal.SIGKILL)


def listens(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    with socket.socket() as asking:
        return not asking.connect_ex(("127.0.0.1", port))


def say(text: str) -> None:
    """A line for whoever started all of it, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _named = dict(each.split("=") for each in sys.argv[3:])
    sys.exit(main(int(sys.argv[1]), sys.argv[2], {int(pid): n for n, pid in _named.items()}))
