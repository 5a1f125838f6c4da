"""A second process that types pages: Python uses one core at a time, and a first load needs more.

    this process                                  the typist
    fetch, look up, COPY  ── body of a page ──►   type, pack
                          ◄─────── batch ──────

It is told nothing but pages and what their entity looks like. It ends with us, however we end:
then its socket closes.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from threading import Lock, Thread
from typing import TYPE_CHECKING

from cw_pipeline.model import Body
from cw_pipeline.normalize.normalizer import Normalizer
from cw_pipeline.passes.line import Line
from cw_pipeline.paths import child_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Batch, Data, Entity

log = logging.getLogger(__name__)

SELDOM = 50_000  # objects that are new: what two pages make, and some more; none in a cycle
_PATIENCE = 10.0  # seconds that it has to end


class Typist:
    """Types pages in another process, once that has started; in this one, as long as it has not."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._due: deque[Future[Batch]] = deque()
        self._told: dict[str, Entity] = {}
        self._line: Line | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: Thread | None = None
        self._ready = False

    @property
    def is_ready(self) -> bool:
        """Whether the process is there to type."""
        return self._ready

    @property
    def process_id(self) -> int | None:
        """The process's number, if there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts the process, if that was not done, and returns at once.

        On a single core it would only cost: nothing is started there.
        """
        with self._lock:
            if self._process is not None or _cores() < 2:  # noqa: PLR2004
                return
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = _process(theirs.fileno())
            self._line = Line(ours)
            self._listener = Thread(target=self._listen, args=[self._line], daemon=True)
            self._listener.start()

    def batch(self, entity: Entity, normalizer: Normalizer, body: Body, seed: int) -> Batch:
        """The batch of a page's body. Raises SourceBroken if it is no JSON array."""
        if (answer := self._asked(entity, body, seed)) is not None:
            with suppress(EOFError):
                return answer.result()
        return normalizer.batch(body.open(), seed=seed)

    def close(self) -> None:
        """Ends the process. No page may be with it any more."""
        with self._lock:
            if self._process is None or self._line is None or self._listener is None:
                return
            with suppress(OSError):
                self._line.send(None)
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._listener.join()
            self._line.close()
            self._process = None

    def _asked(self, entity: Entity, body: Body, seed: int) -> Future[Batch] | None:
        """The batch to come; None if there is nobody to ask. Pages are typed in order."""
        with self._lock:
            if self._line is None or not self._ready:
                return None
            answer: Future[Batch] = Future()
            self._due.append(answer)
            unheard = None if self._told.get(entity.name) == entity else entity
            self._told[entity.name] = entity
            try:
                self._line.send((entity.name, unheard, seed, body.deflated), body.sent)
            except OSError:
                return None  # it has just ended; who listens takes note
            return answer

    def _listen(self, line: Line) -> None:
        """Hands out what comes back, until nothing does."""
        try:
            with suppress(EOFError, OSError):
                self._hand_out(line)
        finally:
            self._ready = False
            if self._due:
                log.warning("the process that typed pages has ended: they are typed here now")
            while self._due:
                self._due.popleft().set_exception(EOFError())

    def _hand_out(self, line: Line) -> None:
        line.receive()
        self._ready = True
        while True:
            self._hand_on(*line.receive())

    def _hand_on(self, told: Batch | Exception, data: Sequence[Data]) -> None:
        answer = self._due.popleft()
        if isinstance(told, Exception):
            answer.set_exception(told)
        else:
            answer.set_result(_whole(told, data))


def _process(socket_number: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(socket_number)],
        pass_fds=[socket_number],
        stdin=subprocess.DEVNULL,
        env=child_environment(),
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _serve(line: Line) -> None:
    """Types what is sent, until told to end."""
    normalizers: dict[str, Normalizer] = {}
    line.send("ready")
    while _answered(line, normalizers):
        pass


def _answered(line: Line, normalizers: dict[str, Normalizer]) -> bool:
    """Types a page, of which nothing is left while the next one comes. False when told to end."""
    told, data = line.receive()
    if told is None:
        return False
    name, entity, seed, deflated = told
    if entity is not None:
        normalizers[name] = Normalizer(entity)
    try:
        batch = normalizers[name].batch(Body(data.pop(), deflated).open(), seed=seed)
    except Exception as error:  # noqa: BLE001 - raised again where it was asked for
        line.send(error)
    else:
        line.send(*_apart(batch))
    return True


def _apart(batch: Batch) -> tuple[Batch, *tuple[Data, ...]]:
    """The batch without its rows, and they."""
    return (
        replace(batch, tables=[replace(table, data=b"") for table in batch.tables]),
        *(table.data for table in batch.tables),
    )


def _whole(batch: Batch, data: Sequence[Data]) -> Batch:
    tables = zip(batch.tables, data, strict=True)
    return replace(batch, tables=[replace(table, data=rows) for table, rows in tables])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asked; then the socket closes
    gc.set_threshold(SELDOM)
    with suppress(EOFError, OSError):
        _serve(Line(socket.socket(fileno=int(sys.argv[1]))))
