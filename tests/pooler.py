"""PgBouncer in transaction mode with its defaults, in front of the tests' server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0  # seconds


def program() -> str | None:
    """The pgbouncer of this machine, if it has one."""
    return shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


@contextmanager
def pooled(dsn: str) -> Iterator[str]:
    """The same database through the pooler, inside the block.

    Transactions go round its server connections: what one leaves behind another meets.
    """
    bouncer = program()
    assert bouncer is not None
    target = conninfo_to_dict(dsn)
    folder = Path(tempfile.mkdtemp(prefix="cw-pooler-"))
    folder.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rest = " ".join(f"{name}={target[name]}" for name in ("host", "port") if target.get(name))
    (folder / "users").write_text(f'"{target["user"]}" "{target["password"]}"\n')
    (folder / "ini").write_text(
        f"[databases]\n* = {rest}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = plain\nauth_file = {folder}/users\n"
        "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 3\n"
    )
    # It refuses to run as root, and only the server's own account may open its socket.
    sockets = Path(str(target.get("host", "")))
    user = None if os.geteuid() else sockets.stat().st_uid if sockets.is_absolute() else "nobody"
    process = subprocess.Popen(
        [bouncer, "-q", str(folder / "ini")],
        user=user,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        ours = {"host": "127.0.0.1", "port": port, "sslmode": "disable"}
        who = f"{target['user']}:{target['password']}"
        yield f"postgresql://{who}@/{target['dbname']}?{urlencode(ours)}"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        shutil.rmtree(folder)


def _wait(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
