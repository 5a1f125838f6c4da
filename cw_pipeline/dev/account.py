"""Whose processes and files the server's are. PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cw_pipeline.errors import ConfigError, WarehouseError

if sys.platform != "win32":
    import fcntl
    import pwd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ELSEWHERE = "Set CW_PG_HOME to a folder of your own, or CW_WAREHOUSE_DSN to a server's URL."


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system account that runs the server and owns its folder."""

    uid: int
    gid: int

    @classmethod
    def choose(cls) -> Account:
        """The caller's own; for root `postgres` or else `nobody`, because initdb needs a name.

        No account is added and no folder's mode is changed. Raises ConfigError on Windows, which
        has no Unix sockets, and for root on a system with neither account.
        """
        if sys.platform == "win32":
            raise ConfigError(
                "The embedded PostgreSQL does not run on Windows: set CW_WAREHOUSE_DSN to the"
                " postgresql:// URL of a server, or use WSL"
            )
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise ConfigError(
            "PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody' to"
            " run it: use another account, or set CW_WAREHOUSE_DSN to a server's URL"
        )

    @property
    def switch(self) -> dict[str, Any]:
        """Arguments that make `subprocess.run` run a program under this account."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can(self, *command: str) -> bool:
        """Whether this command succeeds under this account."""
        try:
            done = subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                **self.switch,
            )
        except OSError:
            return False
        return done.returncode == 0

    def make_private(self, folder: Path) -> None:
        """Makes a folder that only this account may enter.

        Raises WarehouseError when another account made it first: it may hold another's data.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {self.uid, os.geteuid()}:
                raise WarehouseError(f"{folder} belongs to another account. {ELSEWHERE}")
            if found.st_uid != self.uid:
                os.chown(folder, self.uid, self.gid, follow_symlinks=False)
            folder.chmod(0o700)
        except OSError as error:
            raise WarehouseError(f"Cannot use {folder}: {error.strerror}. {ELSEWHERE}") from error


def keep_private(folder: Path) -> None:
    """Makes a folder of state that only its owner may enter; leaves another account's as it is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if sys.platform == "win32":
        return
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
        folder.chmod(0o700)


def open_to_lock(path: Path) -> int:
    """A descriptor to lock. Children do not inherit it, and the kernel closes it with the process.

    A bare descriptor, because a file object would let go of its lock when collected.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise WarehouseError(f"Cannot lock {path}: {error.strerror}. {ELSEWHERE}") from error


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits until no other process is inside the same block."""
    descriptor = open_to_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def share(descriptor: int) -> None:
    """Joins those who use the server, after waiting for one who is stopping it."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def is_last(descriptor: int) -> bool:
    """Whether nobody else uses the server. If so, whoever comes now waits for us to close it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
