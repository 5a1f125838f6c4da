"""A ConnectWise of the project's own, for when no tenant is configured.

One server for all processes that name the same folder, as with the embedded PostgreSQL: the first
one starts it, the last one out stops it.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from cw_pipeline.dev.account import is_last, keep_private, open_to_lock, share
from cw_pipeline.errors import ConfigError, PipelineError
from cw_pipeline.paths import child_environment

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

TICKETS, SEED = 20_000, 7
HOST = "127.0.0.1"
COMPANY, PUBLIC_KEY, PRIVATE_KEY = "demo", "public", "private"
CLIENT_ID = "00000000-0000-4000-8000-000000000000"

OCCUPIED = 3
"""The server's exit code when another one serves the folder already."""

USERS = ".users"
"""The file of the folder that each user of the server has a shared lock on."""

PATIENCE = 300.0
"""Seconds for a start: a tenant of a million records takes minutes to make."""


_outliving: list[subprocess.Popen[bytes]] = []
"""Servers this process started and may leave running, which Python would complain about."""


class EmbeddedSimulator:
    """A simulated tenant that lives in the folder `home`, shared by all who name that folder.

    Its records outlive its process. Used in a `with` block it is being started on the way in, and
    stopped on the way out unless another process still uses it; `url` waits until it answers. When
    all who use it were killed, it ends by itself.
    `tickets` and `seed` count only when the folder holds no tenant yet.
    """

    def __init__(self, home: Path, *, tickets: int = TICKETS, seed: int = SEED) -> None:
        self.home = home.expanduser().absolute()
        self._asked = (str(tickets), str(seed))
        self._lease: int | None = None
        self._stays = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is None:
            return
        try:
            if is_last(self._lease):
                self._stop()
        finally:
            self._leave()

    def begin(self, *, stays: bool = False) -> None:
        """Starts the server unless it runs, and does not wait for it.

        Outside a `with` block it ends after this process, unless another one uses it; if it
        `stays`, it is left running. Raises ConfigError where it cannot run.
        """
        if sys.platform == "win32":
            raise ConfigError(
                "The embedded simulator does not run on Windows: set CW_SITE to a tenant, or use"
                " WSL"
            )
        if self._lease is None:
            self.home.parent.mkdir(parents=True, exist_ok=True)
            keep_private(self.home)
            self._lease = open_to_lock(self.home / USERS)
            share(self._lease)
        self._stays = stays
        if self._status() is None:
            self._process = self._start()

    def url(self) -> str:
        """Where it answers, for `CW_SITE`. Raises PipelineError if it does not start."""
        self.about()
        return f"http://{HOST}:{self._server()[0]}"

    def about(self) -> dict[str, Any]:
        """Its tenant, as `status` has it, however long it takes on a busy machine to say so.

        Raises PipelineError if it does not start.
        """
        deadline = time.monotonic() + PATIENCE
        while (found := self._status()) is None:
            self._check(deadline)
            time.sleep(0.05)
        return found

    def status(self) -> dict[str, Any] | None:
        """Its tenant: tickets, seed, born, days. None while it does not answer."""
        return self._status()

    def live_a_day(self) -> dict[str, dict[str, int]]:
        """Changes the tenant as a working day does: how many records, by what was done and path."""
        self.url()
        changed = self._ask("POST", "/day", timeout=60)
        if changed is None:
            raise PipelineError(f"the simulator does not answer: see {self.log}")
        return changed

    def stop(self) -> bool:
        """Stops it, whoever else uses it. False when it was not running."""
        self._leave()
        return self._stop()

    @property
    def log(self) -> Path:
        """The server's messages."""
        return self.home / "simulator.log"

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cw_pipeline.simulator.home", str(self.home), *self._asked]
        command += [] if self._stays else [USERS]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; it stops when the last one leaves
            )
        _outliving.append(process)
        return process

    def _check(self, deadline: float) -> None:
        """Raises PipelineError if waiting any longer is of no use."""
        code = self._process.poll() if self._process else OCCUPIED
        if code == OCCUPIED and not self._is_served():
            self._process = self._start()  # the other one went away meanwhile
        elif code not in (None, OCCUPIED) or time.monotonic() > deadline:
            said = self.log.read_text(errors="replace")[-1000:].strip()
            raise PipelineError(f"the simulator did not start: {said or 'see'} ({self.log})")

    def _stop(self) -> bool:
        """Stops the server, one that does not answer yet too. False if there was none."""
        stopped = False
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=10)
            stopped = True
        deadline = time.monotonic() + PATIENCE
        while self._is_served() and time.monotonic() < deadline:
            self._ask("POST", "/stop")
            time.sleep(0.02)
            stopped = True
        return stopped

    def _is_served(self) -> bool:
        """Whether a process holds the folder: it serves the tenant, or is about to."""
        if not self.home.exists():
            return False
        descriptor = open_to_lock(self.home / "serving")
        try:
            return not is_last(descriptor)
        finally:
            os.close(descriptor)

    def _server(self) -> tuple[str, str]:
        """Port and word of the process that serves the folder or did last; empty as it starts."""
        try:
            port, _, word = (self.home / "serving").read_text().partition(" ")
        except (FileNotFoundError, PermissionError):
            return "", ""
        return port, word

    def _status(self) -> dict[str, Any] | None:
        return self._ask("GET", "")

    def _ask(self, method: str, path: str, timeout: float = 5) -> dict[str, Any] | None:
        """What the folder's server answers about itself; None if it does not run."""
        port, word = self._server()
        if not word:
            return None
        connection = http.client.HTTPConnection(HOST, int(port), timeout=timeout)
        try:
            connection.request(method, f"/simulator/{word}{path}")  # another's answers 401 or 404
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return answer if response.status == http.client.OK else None

    def _leave(self) -> None:
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None
