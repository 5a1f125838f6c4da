"""Counting what a server is asked: a proxy that reads along what clients send to it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from types import TracebackType

_ASKING = b"QE"
"""Messages that have the server run a statement: a simple query, and an execution."""


class Statements:
    """Counts the statements and connections that come through it. A context manager.

    `BEGIN`, `COMMIT` and empty statements count: each is a round trip.
    """

    def __init__(self, dsn: str) -> None:
        place: dict[str, Any] = conninfo_to_dict(dsn)
        self._server = (place.pop("host"), int(place.pop("port")))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        # Without encryption the proxy can read along.
        plain = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
        self.dsn = make_conninfo(**{**place, **plain})
        self.connections = 0
        self.sent: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = self._connected()
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=_down, args=(server, client), daemon=True).start()

    def _connected(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        own = socket.socket(socket.AF_UNIX)
        own.connect(f"{host}/.s.PGSQL.{port}")
        return own

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        stream = client.makefile("rb")
        asked = ""
        kind = b""  # the first message has none
        with suppress(OSError), server:
            while len(size := stream.read(4)) == 4:
                body = stream.read(int.from_bytes(size) - 4)
                if kind == b"P":  # what is to be executed: behind the statement's name
                    asked = body.split(b"\0")[1].decode()
                elif kind and kind in _ASKING:
                    self.sent.append(body[:-1].decode() if kind == b"Q" else asked)
                server.sendall(kind + size + body)
                kind = stream.read(1)


def _down(server: socket.socket, client: socket.socket) -> None:
    with suppress(OSError), client:
        while received := server.recv(1 << 16):
            client.sendall(received)
