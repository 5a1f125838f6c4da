"""Programs that run beside a test."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from cw_pipeline.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PATIENCE = 20  # seconds that a program has to end
_PATIENCE_AT_A_TERMINAL = 60  # seconds that it has to say something


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[None]:
    """A program in the project's folder, stopped at the end of the block with all it started."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=_PATIENCE)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


class Terminal:
    """A program at a terminal of its own, and somebody who types. A context manager."""

    def __init__(self, command: Sequence[str], umask: int = -1) -> None:
        self.screen = ""
        self._seen = 0
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            umask=umask,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._ours)

    def expect(self, text: str) -> None:
        """Waits until the program says so. Fails with all of the screen if it does not."""
        until = time.monotonic() + _PATIENCE_AT_A_TERMINAL
        while (found := self.screen.find(text, self._seen)) < 0:
            if not self._read(until - time.monotonic()):
                raise AssertionError(f"{text!r} was never said:\n{self.screen}")
        self._seen = found + len(text)

    def answer(self, question: str, text: str) -> None:
        """Waits for a question, and types the answer and Enter."""
        self.expect(question)
        # Typed before the program has turned the echo off, a secret would be shown.
        time.sleep(0.2)
        os.write(self._ours, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        time.sleep(0.5)  # what comes while a prompt is being set up may be lost
        os.write(self._ours, b"\x03")

    def wait(self) -> int:
        """The exit code, once the program has ended."""
        while self._read(_PATIENCE_AT_A_TERMINAL):
            pass
        return self._process.wait(_PATIENCE)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0, seconds))
        try:
            new = os.read(self._ours, 65_536) if ready else b""
        except OSError:  # Linux says so when the program has ended
            new = b""
        self.screen += new.decode(errors="replace")
        return bool(new)
