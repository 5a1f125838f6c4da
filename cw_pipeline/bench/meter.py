"""What a span of work has cost: wall, CPU of client, PostgreSQL and server, and WAL."""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

_PROC = Path("/proc")
_OWN, _WITH_GONE = slice(11, 13), slice(11, 15)  # user and system; those of ended children too


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds and bytes. None where this system does not tell."""

    wall: float
    client: float
    postgres: float | None
    server: float | None
    wal: int

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


class Meter:
    """Reads the counters of this process, of PostgreSQL and of the page server."""

    def __init__(self, connection: Connection[Any], server: int | None) -> None:
        self._connection = connection
        self._server = server
        self._postmaster = _postmaster(connection)
        self._start = self._read()

    def memory(self) -> int:
        """Bytes that PostgreSQL's processes hold now, what they share counted once."""
        server = self._postmaster
        if server is None:
            return 0
        return shared_memory(server) + sum(shared_memory(pid) for pid, _ in descendants(server))

    def restart(self) -> None:
        """Counts from now on."""
        self._start = self._read()

    def cost(self) -> Spent:
        """What it cost since the start."""
        now = self._read()
        return Spent(
            now.wall - self._start.wall,
            now.client - self._start.client,
            _less(now.postgres, self._start.postgres),
            _less(now.server, self._start.server),
            now.wal - self._start.wal,
        )

    def _read(self) -> Spent:
        return Spent(
            time.monotonic(),
            time.process_time(),
            _of_all(self._postmaster) if self._postmaster else None,
            _seconds(self._server, _OWN) if self._server and _PROC.exists() else None,
            _wal(self._connection),
        )


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    if _PROC.exists():  # what getrusage says there may be the parent's, from before the exec
        return _most_held()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, without that of its children."""
    return _seconds(pid, _OWN)


def parent(pid: int) -> int:
    """The process that a process is a child of."""
    return int(_stat(pid)[1][1])


def resident_memory(pid: int) -> int:
    """Bytes that a process holds in memory now."""
    pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    return pages * resource.getpagesize()


def cpu_of_family(pid: int) -> float:
    """CPU time of a process and all below it, with those that have ended and were waited for."""
    total = 0.0
    for each in [pid, *(below for below, _ in descendants(pid))]:
        with suppress(OSError):
            total += _seconds(each, _WITH_GONE)
    return total


def descendants(pid: int) -> list[tuple[int, str]]:
    """The processes below one, each with its command line."""
    found = []
    for child in _children(pid):
        with suppress(OSError):
            line = (_PROC / str(child) / "cmdline").read_bytes().replace(b"\0", b" ")
            found += [(child, line.decode(errors="replace")), *descendants(child)]
    return found


def shared_memory(pid: int) -> int:
    """Bytes that a process holds, of what it shares with others its part; 0 if it is gone."""
    with suppress(OSError):
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return 0


def wal_position(connection: Connection[Any]) -> int:
    """Bytes of WAL that were ever written."""
    return _wal(connection)


def _most_held() -> int:
    status = (_PROC / "self" / "status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def _postmaster(connection: Connection[Any]) -> int | None:
    """The server's first process, if it runs on this machine and the system shows it."""
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    try:
        name, fields = _stat(row[0])
    except OSError:
        return None
    return int(fields[1]) if name.startswith("postgres") else None


def _of_all(postmaster: int) -> float:
    """The CPU seconds of all its processes, of those that have ended too."""
    while True:
        postmaster_seconds = _seconds(postmaster, _WITH_GONE)
        total = postmaster_seconds + _of_children(postmaster)
        if _seconds(postmaster, _WITH_GONE) == postmaster_seconds:
            return total  # else one has ended meanwhile, and would be missing


def _of_children(parent: int) -> float:
    total = 0.0
    for child in _children(parent):
        with suppress(OSError):
            total += _seconds(child, _OWN)
    return total


def _children(of: int) -> Iterator[int]:
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if parent(int(folder.name)) == of:
                    yield int(folder.name)


def _seconds(pid: int, which: slice) -> float:
    return _ticks(_stat(pid)[1][which])


def _ticks(fields: list[str]) -> float:
    return sum(map(int, fields)) / float(os.sysconf("SC_CLK_TCK"))


def _stat(pid: int) -> tuple[str, list[str]]:
    """The process's name, and the fields from its state on. Raises OSError if it is gone."""
    name, _, rest = (_PROC / str(pid) / "stat").read_text().partition("(")[2].rpartition(")")
    return name, rest.split()


def _wal(connection: Connection[Any]) -> int:
    row = connection.execute(
        "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _less(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
