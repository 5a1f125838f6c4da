"""A tenant that outlives its process, and the process that serves it.

A folder holds how the tenant was made and every change since, so each start brings back exactly
the same records and stamps: what was synced before is still up to date.

    origin.json      seed, tickets, when it was born, how many working days it has lived
    changes.jsonl    each change since, one to a line
    serving          locked by the process that serves it; holds its port and a secret word
    .users           locked, shared, by the processes that use it
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from cw_pipeline.simulator.answers import Answer, as_json
from cw_pipeline.simulator.day import TICKETS, TIME, working_day
from cw_pipeline.simulator.seed import seed_tenant
from cw_pipeline.simulator.server import Simulator

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from cw_pipeline.simulator.tenant import Change, Tenant

CONTROL_PATH = "/simulator/{word}"
"""What the process answers beside the API: its status to GET; POST /day and /stop below it.

Named by a secret word, which the folder's owner alone can read: others on this machine reach the
port, too. And the port may have gone to another tenant's process since it was written down: that
one must not be asked, let alone stopped, in its place.
"""

PORTS = range(18650, 18700)
"""Below those that systems give to outgoing connections."""

REMEMBERED = 10_000
"""Requests. The process may run for weeks, and nobody looks at them."""

_LOOK = 1.0  # seconds between two looks whether anybody uses it

OCCUPIED, OUTDATED = 3, 4
"""The exit codes when another process serves the folder already, and when its tenant was made by
a version of this project that makes other records: they cannot be made again.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a tenant was made: enough to make it again, by a version of the same `generation`."""

    tickets: int
    seed: int
    born: datetime
    days: int = 0
    generation: str = ""


class Home:
    """One tenant's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def origin(self) -> Origin | None:
        """How its tenant was made; None while it has none."""
        try:
            return msgspec.json.decode((self._folder / "origin.json").read_bytes(), type=Origin)
        except FileNotFoundError:
            return None

    def keep(self, origin: Origin) -> None:
        """Stores that. In one step: a half-written file would be no tenant at all."""
        unfinished = self._folder / f"origin-{os.getpid()}"
        unfinished.write_bytes(msgspec.json.encode(asdict(origin)))
        unfinished.replace(self._folder / "origin.json")

    def tenant(self, tickets: int, seed: int) -> Tenant:
        """The folder's tenant as it last was; one of this size is made if there is none."""
        now = datetime.now(UTC).replace(microsecond=0)
        origin = self.origin or Origin(tickets, seed, now, generation=generation())
        tenant = seed_tenant(origin.tickets, origin.seed, origin.born)
        tenant.advance((datetime.now(UTC) - tenant.now()).total_seconds())
        self._relive(tenant)
        tenant.watchers.append(partial(_write_down, self._journal()))
        self.keep(origin)
        return tenant

    def live_a_day(self, tenant: Tenant) -> dict[str, dict[str, int]]:
        """Lives the next working day: how many records were created, edited, deleted, by path."""
        origin = self.origin
        assert origin is not None
        lived = working_day(tenant, seed=origin.seed + origin.days + 1)
        self.keep(replace(origin, days=origin.days + 1))
        return {
            what: {path: len(ids) for path, ids in getattr(lived, what).items() if ids}
            for what in ("created", "edited", "deleted")
        }

    def _journal(self) -> TextIO:
        return (self._folder / "changes.jsonl").open("a", buffering=1)

    def _relive(self, tenant: Tenant) -> None:
        path = self._folder / "changes.jsonl"
        if not path.exists():
            return
        whole, _, cut = path.read_bytes().rpartition(b"\n")
        if cut:  # the process was killed in the middle of a line
            path.write_bytes(whole + b"\n" if whole else b"")
        for line in whole.splitlines():
            change: dict[str, Any] = msgspec.json.decode(line)
            kept, record = tenant.stored_collection(change["path"]), change["record"]
            if change["action"] != "deleted":
                kept.put(record)
            elif record["id"] in kept:
                kept.delete(record["id"])


def generation() -> str:
    """What tells versions apart that make other records of the same seed."""
    tenant = seed_tenant(tickets=20, now=datetime(2026, 1, 1, tzinfo=UTC))
    digest = hashlib.sha256()
    for path in sorted(tenant.paths()):
        records = tenant.collection(path)
        digest.update(path.encode() + records.join(records.ids))
    return digest.hexdigest()[:16]


def _write_down(journal: TextIO, change: Change) -> None:
    line = {"action": change.action, "path": change.path, "record": change.record}
    journal.write(msgspec.json.encode(line).decode() + "\n")


def main(folder: str, tickets: str, seed: str, users: str = "") -> int:
    """Serves a folder's tenant until told to stop. Returns the exit code.

    Where a file of `users` is named, also until nobody has a lock on that any more.
    """
    home = Path(folder)
    descriptor = os.open(home / "serving", os.O_RDWR | os.O_CREAT, 0o600)
    os.fchmod(descriptor, 0o600)  # versions before may have made it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return OCCUPIED
    if users:
        Thread(target=_end_unused, args=[home / users], daemon=True).start()
    kept = Home(home)
    if kept.origin is not None and kept.origin.generation != generation():
        sys.stderr.write(
            f"the made-up tenant in {home} was made by a version of cw_pipeline that makes other"
            " records. `cw-pipeline down --delete` deletes it and its warehouse; then start again\n"
        )
        return OUTDATED
    port = _port(os.pread(descriptor, 16, 0).partition(b" ")[0])
    os.truncate(descriptor, 0)  # nobody shall ask there before we answer
    tenant = kept.tenant(int(tickets), int(seed))
    simulator = _simulator(tenant, port)
    simulator.before_page(lambda *_: _forget(simulator))
    word = secrets.token_urlsafe(24)
    control = CONTROL_PATH.format(word=word)
    simulator.own_routes = {
        ("GET", control): lambda: as_json(_status(kept, tenant)),
        ("POST", f"{control}/day"): lambda: as_json(kept.live_a_day(tenant)),
        ("POST", f"{control}/stop"): _stop,
    }
    os.pwrite(descriptor, f"{simulator.url.rpartition(':')[2]} {word}".encode(), 0)
    simulator.run()
    return 0


def _end_unused(users: Path) -> None:
    """Ends this process once all who used it are gone: the last one out was killed.

    It keeps the file locked to its end, so who comes meanwhile waits, and then starts another.
    """
    descriptor = os.open(users, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        time.sleep(_LOOK)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _status(home: Home, tenant: Tenant) -> dict[str, Any]:
    origin = home.origin
    with tenant.lock:
        status = {
            "pid": os.getpid(),
            "records": sum(len(tenant.collection(path)) for path in tenant.paths()),
            "service_tickets": len(tenant.collection(TICKETS)),
            "time_entries": len(tenant.collection(TIME)),
        }
    return status | (asdict(origin) if origin else {})


def _stop() -> Answer:
    signal.raise_signal(signal.SIGTERM)  # the server finishes this answer first
    return as_json({})


def _port(last: bytes) -> int:
    """The port of last time, if it is free: whoever was told of it may still ask there."""
    candidates: list[int] = [int(last)] if last.isdigit() else []
    candidates += PORTS
    for port in candidates:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    return 0


def _simulator(tenant: Tenant, port: int) -> Simulator:
    """On this port, unless somebody took it while the tenant was made."""
    try:
        return Simulator(tenant, port=port)
    except OSError:
        return Simulator(tenant)


def _forget(simulator: Simulator) -> None:
    if len(simulator.requests) > REMEMBERED:
        simulator.requests.clear()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
