"""Answers within bounds: how long one may take, and how large its headers and its body may be.

httpx bounds each read alone, so that a byte a second goes on for ever, and inflates whatever comes.
Here an answer is read to its end within limits before anybody sees it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

import httpcore
import httpx
from typing_extensions import override

from cw_pipeline.connectwise.response import BodyTooLarge, inflate_body

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_KB, _MB = 1 << 10, 1 << 20
_READ = 64 * _KB  # bytes that httpcore reads at once: headers may come with the begin of a body
_LONG = 60.0  # seconds, for a client without a time-out
_USUAL = 64 * _MB  # bytes of all answers together that are read side by side
_KEPT = 32 * _MB  # bytes of large bodies that are worked on while another one is read
_PATIENCE = 20.0  # seconds in which one of those is done, unless its worker waits for something
SENT = "cw_sent_bytes"
"""The extension of a response that says how large its body was as sent."""


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What an answer may be: `body_bytes` as sent, and as much inflated.

    Defaults: 1,000 tickets with a text of 20 KB each have 24 MB.
    """

    body_bytes: int = 32 * _MB
    header_bytes: int = 32 * _KB


class AnswerRefused(Exception):
    """An answer that goes beyond a limit, with the figure and the setting.

    `is_too_large`: it would be so again; a shorter page need not be.
    """

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


def bound_answers(
    client: httpx.Client,
    limits: AnswerLimits,
    concurrency: int,
    on_headers: Callable[[httpx.Headers], None],
) -> None:
    """Makes a client read every answer within limits, through proxies too.

    It then raises AnswerRefused. `on_headers` is called as soon as they have come. Bodies come
    inflated. Up to `concurrency` usual ones are read side by side, larger ones one at a time, and
    only while few are kept by who asked for them.
    """
    large = _LargeBodies(max(_MB, _USUAL // concurrency))
    seconds = client.timeout.read or _LONG

    def with_limits(transport: httpx.BaseTransport) -> httpx.BaseTransport:
        return _BoundedTransport(transport, limits, seconds, large, on_headers)

    # Private, because httpx takes the proxies of the environment into no transport of ours.
    client._transport = with_limits(client._transport)  # noqa: SLF001
    client._mounts = {  # noqa: SLF001
        pattern: None if transport is None else with_limits(transport)
        for pattern, transport in client._mounts.items()  # noqa: SLF001
    }
    client.event_hooks = {"response": [_let_go]}


def _let_go(answer: httpx.Response) -> None:
    """Takes an answer, which is read, out of the cycle that httpx makes of it and its stream.

    In it, the body would stay until garbage is collected.
    """
    answer.stream = httpx.ByteStream(b"")


class _Exchange:
    """One request and its answer: how long it may take, and what has come so far."""

    def __init__(self, limits: AnswerLimits, seconds: float) -> None:
        self._limits = limits
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._received = 0
        self._has_headers = False

    def time_left(self, timeout: float | None) -> float:
        """Seconds that the next read or write may take. Raises AnswerRefused if there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise self.too_slow()
        return left if timeout is None else min(left, timeout)

    def add_time(self, seconds: float) -> None:
        """Gives the answer more time: it had to wait for others, not for the server."""
        self._until += seconds

    def note(self, data: bytes) -> bytes:
        """The same data, counted. Raises AnswerRefused for headers without an end."""
        self._received += len(data)
        if not self._has_headers and self._received > self._limits.header_bytes + _READ:
            raise self.headers_too_large()
        return data

    def note_headers(self, headers: httpx.Headers) -> None:
        """Notes that they have come. Raises AnswerRefused if they are too large."""
        self._has_headers = True
        if sum(len(name) + len(value) for name, value in headers.raw) > self._limits.header_bytes:
            raise self.headers_too_large()

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the answer has come."""
        return self._received > 0

    def too_slow(self) -> AnswerRefused:
        """The error of an answer that has begun and does not end."""
        return AnswerRefused(
            f"the answer was not complete after {self._seconds:g} s (CW_TIMEOUT_SECONDS);"
            f" {self._received:,} bytes had come"
        )

    def headers_too_large(self) -> AnswerRefused:
        """The error of headers beyond the limit."""
        most = self._limits.header_bytes // _KB
        return AnswerRefused(f"the headers are larger than {most} KB (CW_MAX_HEADER_KB)")

    def body_too_large(self, how: str) -> AnswerRefused:
        """The error of a body beyond the limit; `how` it is."""
        most = self._limits.body_bytes / _MB
        return AnswerRefused(f"the body {how} {most:g} MB (CW_MAX_ANSWER_MB)", is_too_large=True)


class _BoundedTransport(httpx.BaseTransport):
    """Reads answers whole, within limits, in `seconds` where the request names no others."""

    def __init__(
        self,
        inner: httpx.BaseTransport,
        limits: AnswerLimits,
        seconds: float,
        large: _LargeBodies,
        on_headers: Callable[[httpx.Headers], None],
    ) -> None:
        self._inner = inner
        self._limits = limits
        self._seconds = seconds
        self._large = large
        self._on_headers = on_headers
        self._current = threading.local()
        if isinstance(inner, httpx.HTTPTransport):  # others have no network
            # Private, because a transport of httpx takes no other network backend.
            pool: Any = inner._pool  # noqa: SLF001
            pool._network_backend = _BoundedBackend(pool._network_backend, self._current)  # noqa: SLF001

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer with its body."""
        # The question for a member's keys comes from httpx itself, without one.
        seconds = request.extensions.get("timeout", {}).get("read") or self._seconds
        exchange = _Exchange(self._limits, seconds)
        self._current.exchange = exchange
        try:
            response = self._inner.handle_request(request)
            try:
                return self._read(response, exchange)
            finally:
                response.close()
        except httpx.RemoteProtocolError as error:
            if "too long" in str(error):  # h11 takes no more than 100 KB of headers
                raise exchange.headers_too_large() from error
            raise
        finally:
            self._current.exchange = None

    @override
    def close(self) -> None:
        self._inner.close()

    def _read(self, response: httpx.Response, exchange: _Exchange) -> httpx.Response:
        exchange.note_headers(response.headers)
        self._on_headers(response.headers)
        sent, body = self._body(response, exchange)
        headers = [
            (name, value)
            for name, value in response.headers.raw
            if name.lower() not in {b"content-encoding", b"content-length", b"transfer-encoding"}
        ]
        extensions = {**response.extensions, SENT: sent}
        answer = httpx.Response(response.status_code, headers=headers, extensions=extensions)
        answer._content = body  # noqa: SLF001 - httpx would copy it, and it would not be counted
        return answer

    def _body(self, response: httpx.Response, exchange: _Exchange) -> tuple[int, bytes]:
        """How large the body was as sent, and the body."""
        try:
            with _LargeTurn(self._large, exchange) as turn:
                return self._read_body(response, exchange, turn)
        except AnswerRefused as error:
            refusal = AnswerRefused(str(error), is_too_large=error.is_too_large)
        # A new one, and raised where nothing of the body is in reach: errors are kept for a while,
        # and the frames of their tracebacks hold all that was read until then.
        raise refusal

    def _read_body(
        self, response: httpx.Response, exchange: _Exchange, turn: _LargeTurn
    ) -> tuple[int, bytes]:
        sent = self._read_sent(response, exchange, turn)
        body = self._inflate(sent, response.headers, exchange, turn)
        return len(sent), self._large.keep(body)

    def _read_sent(self, response: httpx.Response, exchange: _Exchange, turn: _LargeTurn) -> bytes:
        most = self._limits.body_bytes
        if int(response.headers.get("content-length", "0")) > most:
            raise exchange.body_too_large("is announced as larger than")
        body = BytesIO()  # a list of parts would have 60 bytes for each chunk of one
        size = 0
        assert isinstance(response.stream, httpx.SyncByteStream)
        for part in response.stream:
            size += len(part)
            if size > most:
                raise exchange.body_too_large("is larger than")
            turn.claim_for(size)
            body.write(part)
        return body.getvalue()

    def _inflate(
        self, sent: bytes, headers: httpx.Headers, exchange: _Exchange, turn: _LargeTurn
    ) -> bytes:
        encoding = headers.get("content-encoding", "").strip().lower()
        if not sent or encoding in {"", "identity"}:
            return sent
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise AnswerRefused(f"the body is encoded as {encoding!r}, which was not asked for")
        try:
            return inflate_body(
                sent, self._limits.body_bytes, lambda size: turn.claim_for(len(sent) + size)
            )
        except BodyTooLarge:
            how = f"of {len(sent) / _MB:.1f} MB inflates to more than"
            raise exchange.body_too_large(how) from None
        except ValueError as error:
            raise AnswerRefused(str(error)) from error


class _LargeBodies:
    """Keeps large bodies, those of more than `share` bytes, from filling the memory together.

    One is read at a time; and it waits for those that are being worked on, as long as they come to
    their ends. Not for ever: who works on one may have to ask for another first.
    """

    def __init__(self, share: int) -> None:
        self.share = share
        self._kept = 0
        self._is_reading = False
        # Reentrant, because a body may be given back by garbage collection, anywhere.
        self._changed = threading.Condition(threading.RLock())

    def keep(self, body: bytes) -> bytes:
        """The body, which counts as kept from now on, as long as anybody has it or a view of it."""
        if len(body) <= self.share:
            return body
        kept = _LargeBody(body)
        kept.owner = self
        self.add(len(kept))
        return kept

    def add(self, size: int) -> None:
        """Counts so many bytes more as kept, or less."""
        with self._changed:
            self._kept += size
            self._changed.notify_all()

    def begin(self, exchange: _Exchange) -> None:
        """Returns when it is the turn of a large body. Raises AnswerRefused if that takes long."""
        began, left = time.monotonic(), exchange.time_left(None)
        with self._changed:
            while not self._has_room() and self._changed.wait(_PATIENCE):
                pass
            if not self._changed.wait_for(lambda: not self._is_reading, left):
                raise exchange.too_slow()
            self._is_reading = True
        exchange.add_time(time.monotonic() - began)

    def end(self) -> None:
        """Gives the turn to the next one."""
        with self._changed:
            self._is_reading = False
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return not self._is_reading and self._kept < _KEPT


class _LargeBody(bytes):
    """A large body, which tells its owner when it is gone."""

    owner: _LargeBodies

    def __del__(self) -> None:
        self.owner.add(-len(self))


class _LargeTurn:
    """The turn of an answer that may turn out to be large. A context manager.

    Sizes are those of a body as sent and inflated together, because both are held.
    """

    def __init__(self, large: _LargeBodies, exchange: _Exchange) -> None:
        self._large = large
        self._exchange = exchange
        self._is_ours = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            self._large.end()

    def claim_for(self, size: int) -> None:
        """Returns when an answer may be so large. Raises AnswerRefused if that takes too long."""
        if size > self._large.share and not self._is_ours:
            self._large.begin(self._exchange)
            self._is_ours = True


class _BoundedBackend(httpcore.NetworkBackend):
    """Opens connections whose reads and writes end with the exchange that they are for."""

    def __init__(self, inner: httpcore.NetworkBackend, current: threading.local) -> None:
        self._inner = inner
        self._current = current

    @override
    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        left = self._current.exchange.time_left(timeout)
        stream = self._inner.connect_tcp(host, port, left, *args, **options)
        return _BoundedStream(stream, self._current)

    @override
    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _BoundedStream(httpcore.NetworkStream):
    """A connection: what is read and written on it counts for the exchange of this thread."""

    def __init__(self, inner: httpcore.NetworkStream, current: threading.local) -> None:
        self._inner = inner
        self._current = current

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        exchange: _Exchange = self._current.exchange
        try:
            return exchange.note(self._inner.read(max_bytes, exchange.time_left(timeout)))
        except httpcore.ReadTimeout:
            if exchange.has_begun:
                raise exchange.too_slow() from None
            raise

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        exchange: _Exchange = self._current.exchange
        self._inner.write(buffer, exchange.time_left(timeout))

    @override
    def close(self) -> None:
        self._inner.close()

    @override
    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _BoundedStream(secured, self._current)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
