"""The embedded server's life: started by whoever comes first, stopped by the last one out."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import tempfile
import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from cw_pipeline.dev import binaries
from cw_pipeline.dev.account import Account, alone, is_last, open_to_lock, share
from cw_pipeline.dev.cluster import PORT, Cluster
from cw_pipeline.errors import WarehouseError

if TYPE_CHECKING:
    from types import TracebackType

ROLE = "cw_pipeline"
WAREHOUSE, RUNS = "cw_warehouse", "dagster"
DATABASES = (WAREHOUSE, RUNS)
"""The warehouse, and what Dagster keeps of its runs."""

SUPERUSER = "postgres"
PATIENCE = 300
"""Seconds for a start or a stop: after a crash PostgreSQL first replays its log."""

ANSWER = 3  # seconds for which an answer of the server is waited for

UP, BUSY, DOWN = range(3)  # pg_isready's exit codes; BUSY is starting or stopping
# A socket's path, 15 longer than its folder's, fits 103 bytes on macOS and 107 on Linux.
PLAIN_FOLDER = re.compile(r"[\w./-]{1,80}", re.ASCII)
LONGEST_NAME = 28  # of a folder that is made for a socket in the temporary one
BIGGEST_LOG = 10_000_000

_in_use: set[EmbeddedPostgres] = set()  # by this process, and up
_joining = Lock()


class EmbeddedPostgres:
    """A PostgreSQL server that lives in the folder `home`, shared by all who name that folder.

    Used in a `with` block it is up inside the block, and stopped on the way out unless another
    process still uses it. The kernel keeps count, so a killed process never counts as a user.
    `durable=False` trades safety against power cuts for speed, for tests.

    As root the server may have to live elsewhere; `home` then says where. Every method raises
    ConfigError or WarehouseError that says what to do.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        account = Account.choose()
        home = home.expanduser().absolute()
        programs, home = binaries.within_reach(binaries.find(), home, account)
        self.home = home
        self._cluster = Cluster(home, programs, _socket_folder(home), account, durable)
        self._lease: int | None = None

    def __enter__(self) -> Self:
        self.ensure()
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

    def ensure(self) -> str:
        """The warehouse's DSN, with the server up until this process ends or stops it.

        Outside a `with` block the server is left running at the end of the process.
        """
        self._cluster.account.make_private(self.home)
        if self._lease is None:
            self._lease = open_to_lock(self.home / ".users")
            share(self._lease)
        with alone(self.home / ".lock"):
            if self._settled_status() == DOWN:
                self._start()
            self._prepare()
        _in_use.add(self)
        return self.dsn()

    def stop(self) -> bool:
        """Stops the server, whoever else uses it. False when it was not running."""
        self._leave()
        return self.home.exists() and self._stop()

    def is_up(self) -> bool:
        """Whether the server takes connections now."""
        return self.home.exists() and self._state() == UP

    def was_made(self) -> bool:
        """Whether it was ever started, so that its roles have a password."""
        return self._cluster.secret.exists()

    def dsn(self, database: str = WAREHOUSE, driver: str = "postgresql") -> str:
        """The URL of a database for the pipeline's role, which owns it and is no superuser."""
        return self._url(ROLE, database, driver)

    @property
    def socket(self) -> str:
        """The path of the socket that it listens on."""
        return f"{self._cluster.sockets}/.s.PGSQL.{PORT}"

    def new_password(self, role: str, group: str) -> str:
        """A new password for a login that reads what `group` may read, which is made if need be.

        It is stored nowhere but, hashed, in the server.
        """
        from cw_pipeline.dev.logins import new_password  # noqa: PLC0415 - it says why

        return new_password(self.admin_dsn(), role, group)

    def admin_dsn(self) -> str:
        """The superuser's URL of the database `postgres`."""
        return self._url(SUPERUSER, "postgres", "postgresql")

    def _url(self, role: str, database: str, driver: str) -> str:
        host = quote(str(self._cluster.sockets), safe="/")
        password = self._cluster.password()
        return f"{driver}://{role}:{password}@/{database}?host={host}&port={PORT}"

    def _state(self) -> int:
        """What the socket answers; if nothing does, BUSY while a process serves the folder.

        A pid alone says nothing, for pids are re-used.
        """
        folder = str(self._cluster.sockets)
        question = ["-q", "-t", str(ANSWER), "-h", folder, "-p", str(PORT)]
        code, _ = self._cluster.attempt("pg_isready", *question)
        if code >= DOWN and self._cluster.has_process():
            return BUSY  # on a machine that is busy, too: to start another one would fail
        return min(code, DOWN)

    def _settled_status(self) -> int:
        """UP or DOWN, once it is neither starting nor stopping."""
        deadline = time.monotonic() + PATIENCE
        while (state := self._state()) == BUSY:
            if time.monotonic() > deadline:
                raise WarehouseError(f"The embedded PostgreSQL is stuck: see {self._cluster.log}")
            time.sleep(0.1)
        return state

    def _start(self) -> None:
        cluster = self._cluster
        cluster.account.make_private(cluster.sockets)
        cluster.make()
        cluster.clear_stale_locks()
        if cluster.log.exists() and cluster.log.stat().st_size > BIGGEST_LOG:
            cluster.log.replace(cluster.log.with_suffix(".log.1"))
        patience = str(PATIENCE)
        arguments = ["-D", "data", "-l", "server.log", "-w", "-t", patience]
        cluster.run("pg_ctl", *arguments, "-o", cluster.options(), "start", timeout=PATIENCE + 10)

    def _stop(self) -> bool:
        with alone(self.home / ".lock"):
            if self._settled_status() == DOWN:
                return False
            arguments = ["-D", "data", "-m", "fast", "-w", "-t", str(PATIENCE), "stop"]
            self._cluster.run("pg_ctl", *arguments, timeout=PATIENCE + 10)
            if self._cluster.sockets.parent != self.home:
                self._cluster.sockets.rmdir()
        return True

    def _prepare(self) -> None:
        """Makes the role and the databases, once; a start cut short here is made good later."""
        done = self._cluster.data / "cw-prepared-2"  # 2: the role may make roles for BI tools
        if done.exists():
            return
        from cw_pipeline.dev.logins import make_owner  # noqa: PLC0415 - it says why

        make_owner(self.admin_dsn(), ROLE, self._cluster.password(), DATABASES)
        done.touch()

    def _leave(self) -> None:
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None
            _in_use.discard(self)


def use_until_exit(home: Path) -> EmbeddedPostgres:
    """The server of this folder, up for as long as this process lives, started if need be.

    At the process' end it is stopped unless another process uses it. A process that uses it anyway,
    in a `with` block for example, keeps to what it does: the server stops at the end of the block.
    """
    server = EmbeddedPostgres(home)
    with _joining:
        if all(each.home != server.home for each in _in_use):
            server.ensure()
            atexit.register(_leave_at_exit, server, os.getpid())
    return server


def _leave_at_exit(server: EmbeddedPostgres, pid: int) -> None:
    if os.getpid() == pid:  # a fork's end is not ours
        server.__exit__(None, None, None)


def _socket_folder(home: Path) -> Path:
    """Inside `home`; in a temporary folder if that path is too long or needs quoting."""
    inside = home / "run"
    if PLAIN_FOLDER.fullmatch(str(inside)):
        return inside
    key = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return temporary_folder() / f"cwpg-{os.geteuid()}-{key}"


def temporary_folder() -> Path:
    """For folders with a socket: /tmp if the path of the usual one is too long or needs quoting."""
    usual = tempfile.gettempdir()
    fits = PLAIN_FOLDER.fullmatch(f"{usual}/{'-' * LONGEST_NAME}")
    return Path(usual if fits else "/tmp")  # noqa: S108 - only folders of its owner alone are made
