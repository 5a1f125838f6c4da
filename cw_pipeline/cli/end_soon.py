"""That a command ends soon after SIGINT, SIGTERM or SIGHUP, whatever it waits for."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE = 6.0  # seconds in which a command ends in good order
_SAME = 0.3  # seconds in which a second signal is the first one, sent to us twice
_INTERRUPTED = 130

ENDING = [signal.SIGINT, signal.SIGTERM]
"""Signals that end a command: Ctrl-C, a plain kill, and a terminal that is closed."""

if sys.platform != "win32":
    ENDING.append(signal.SIGHUP)


def watch() -> None:
    """Ends the process for good a few seconds after a signal, and at once after a second one.

    The orderly end is KeyboardInterrupt's: it waits for threads, and a thread may wait for a
    server that is silent. Python writes to the wakeup file whichever handler is installed and
    whatever the main thread does; Dagster puts handlers of its own in the place of ours.
    """
    if current_thread() is not main_thread():
        return  # signals are the main thread's; whoever called us from another sees to them
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)  # a handler must not block
    before = signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)
    if before != -1:
        os.close(signal.set_wakeup_fd(before))  # somebody watches already
        return
    Thread(target=_end_after_signals, args=[ours], name="end soon", daemon=True).start()


@contextmanager
def left_to_child() -> Iterator[None]:
    """Signals are for a child process, which takes the time that it takes."""
    before = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)


def _end_after_signals(signals: socket.socket) -> None:
    _wait_for_signal(signals, None)
    time.sleep(_SAME)
    while _wait_for_signal(signals, 0):
        pass
    again = _wait_for_signal(signals, GRACE)
    why = "at once" if again else f"without waiting any longer than {GRACE:.0f} s"
    sys.stderr.write(
        f"cw-pipeline: ended {why}. What was read until now is kept: the same command goes on from"
        " there\n"
    )
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def _wait_for_signal(signals: socket.socket, seconds: float | None) -> bool:
    """Whether a signal that ends us came within so many seconds (None: however long it takes)."""
    signals.settimeout(seconds)
    try:
        while signals.recv(1)[0] not in ENDING:
            pass
    except (BlockingIOError, TimeoutError):
        return False
    return True
