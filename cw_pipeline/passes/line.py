"""A line between two processes: messages, and large blocks beside them that nobody copies twice."""

from __future__ import annotations

import pickle
import socket
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cw_pipeline.model import Data

_LENGTH = Struct("!q")


class Line:
    """One end of a socket. Whoever is at the other end is trusted: it is our own process."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: object, *blocks: Data) -> None:
        """Sends a message and its blocks. Raises OSError when nobody is there any more."""
        head = pickle.dumps((message, [len(block) for block in blocks]))
        self._end.sendall(_LENGTH.pack(len(head)) + head)
        for block in blocks:
            self._end.sendall(block)

    def receive(self) -> tuple[Any, list[bytearray]]:
        """The next message and its blocks. Raises EOFError when the other end is closed."""
        (length,) = _LENGTH.unpack(self._received(_LENGTH.size))
        message, sizes = pickle.loads(self._received(length))  # noqa: S301 - our own process
        return message, [self._received(size) for size in sizes]

    def close(self) -> None:
        """Hangs up."""
        self._end.close()

    def _received(self, size: int) -> bytearray:
        block = bytearray(size)
        left = memoryview(block)
        while left:  # a signal may cut even a read that waits for all
            count = self._end.recv_into(left, 0, socket.MSG_WAITALL)
            if not count:
                raise EOFError
            left = left[count:]
        return block
