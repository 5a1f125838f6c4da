"""The embedded warehouse on a TCP port of this machine, for BI tools that know no sockets.

The server itself goes on listening on its socket alone: it need not be started anew, under those
who use it, and the port is gone with the command that asked for it.
"""

from __future__ import annotations

import socket
import socketserver
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
_BLOCK = 1 << 16


@contextmanager
def forward_port(port: int, path: str) -> Iterator[None]:
    """Inside the block, connections to 127.0.0.1:`port` reach the server behind the socket `path`.

    At its end they are cut off. Raises OSError if the port is taken, or may not be opened.
    """
    with _Port(port, path) as listening:
        thread = Thread(target=listening.serve_forever, args=(0.1,), name="loopback port")
        thread.start()
        try:
            yield
        finally:
            listening.shutdown()
            thread.join()
            listening.cut_off()


class _Port(socketserver.ThreadingTCPServer):
    """A thread for each connection, and one more for what comes back."""

    allow_reuse_address = True
    daemon_threads = False  # waited for at the end, when all sockets are closed

    def __init__(self, port: int, path: str) -> None:
        self.path = path
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        super().__init__((HOST, port), _Connection)

    def note(self, *ends: socket.socket, is_open: bool) -> None:
        """Remembers which sockets are in use."""
        with self._lock:
            self._open = self._open | {*ends} if is_open else self._open - {*ends}

    def cut_off(self) -> None:
        """Ends all connections."""
        with self._lock:
            for end in self._open:
                _end(end)


class _Connection(socketserver.BaseRequestHandler):
    server: _Port
    request: socket.socket

    @override
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as to_server:
            try:
                to_server.connect(self.server.path)
            except OSError:
                return  # the server is stopped: the tool sees its connection end
            self.server.note(self.request, to_server, is_open=True)
            back = Thread(target=_pass_on, args=(to_server, self.request), name="loopback answers")
            back.start()
            _pass_on(self.request, to_server)
            back.join()
            self.server.note(self.request, to_server, is_open=False)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until one side ends; then the other is ended, too."""
    with suppress(OSError):
        while block := source.recv(_BLOCK):
            target.sendall(block)
    _end(source)
    _end(target)


def _end(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was quicker
        end.shutdown(socket.SHUT_RDWR)
