"""Answers within bounds: how long one may take, and how large its headers and its body may be.

httpx bounds each read alone, so that a byte a second goes on for ever, and inflates whatever comes.
Here an answer is read to its end within limits before anybody sees it.
"""

from __future__ import annotations

import threading
import time
from codecs import BOM_UTF8
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

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
    # Private, because httpx takes the proxies of the environment into no transport of ours.
    client._transport = _BoundedTransport(client._transport, limits, seconds, large, on_headers)  # noqa: SLF001
    for pattern, transport in client._mounts.items():  # noqa: SLF001
        if transport is not None:
            bounded = _BoundedTransport(transport, limits, seconds, large, on_headers)
            client._mounts[pattern] = bounded  # noqa: SLF001
    client.event_hooks = {"response": [_let_go]}  # also for answers to a question for keys


def _let_go(answer: httpx.Response) -> None:
    """Takes an answer, which is read, out of the cycle that httpx makes of it and its stream.

    In it, its body, a page or a member's keys, would stay until garbage is collected.
    """
    answer.stream = httpx.ByteStream(b"")


@dataclass(slots=True, eq=False)
class _Exchange:
    """One request and its answer: how long it may take, and what has come so far.

    `until`: when its `seconds` are over (`time.monotonic`). `received`: bytes of it. `has_headers`:
    whether all of them have come. `has_turn`: whether it is the one large answer that is read now.
    """

    limits: AnswerLimits
    large: _LargeBodies
    seconds: float
    until: float
    received: int = 0
    has_headers: bool = False
    has_turn: bool = False

    def time_left(self, timeout: float | None) -> float:
        """Seconds that the next read or write may take. Raises AnswerRefused if there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise self.too_slow()
        return left if timeout is None else min(left, timeout)

    def claim_for(self, size: int) -> None:
        """Returns when an answer may be so large. Raises AnswerRefused if that takes too long.

        Sizes are those of a body as sent and inflated together, because both are held.
        """
        if size <= self.large.share or self.has_turn:
            return
        began = time.monotonic()
        if not self.large.begin(self.time_left(None)):
            raise self.too_slow()
        self.has_turn = True
        self.until += time.monotonic() - began  # it had to wait for others, not for the server

    def too_slow(self) -> AnswerRefused:
        """The error of an answer that has begun and does not end."""
        return AnswerRefused(
            f"the answer was not complete after {self.seconds:g} s (CW_TIMEOUT_SECONDS);"
            f" {self.received:,} bytes had come"
        )

    def headers_too_large(self) -> AnswerRefused:
        """The error of headers beyond the limit."""
        most = self.limits.header_bytes // _KB
        return AnswerRefused(f"the headers are larger than {most} KB (CW_MAX_HEADER_KB)")

    def body_too_large(self, how: str) -> AnswerRefused:
        """The error of a body beyond the limit; `how` it is."""
        most = self.limits.body_bytes / _MB
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
            network = _BoundedBackend(pool._network_backend, self._current, self._limits)  # noqa: SLF001
            pool._network_backend = network  # noqa: SLF001

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer with its body."""
        # The question for a member's keys comes from httpx itself, without one.
        seconds = request.extensions.get("timeout", {}).get("read") or self._seconds
        exchange = _Exchange(self._limits, self._large, seconds, time.monotonic() + seconds)
        self._current.exchange = exchange
        try:
            response = self._inner.handle_request(request)
            try:
                return self._read(response, exchange)
            except AnswerRefused as error:
                refusal = AnswerRefused(str(error), is_too_large=error.is_too_large)
            finally:
                if exchange.has_turn:  # first: closing may fail, and the next one waits for it
                    self._large.end()
                response.close()
        except httpx.RemoteProtocolError as error:
            if "too long" in str(error):  # h11 takes no more than 100 KB of headers
                raise exchange.headers_too_large() from error
            raise
        finally:
            self._current.exchange = None
        # A new one, and raised where nothing of the body is in reach: errors are kept for a while,
        # and the frames of their tracebacks hold all that was read until then.
        raise refusal

    @override
    def close(self) -> None:
        self._inner.close()

    def _read(self, response: httpx.Response, exchange: _Exchange) -> httpx.Response:
        """The answer that it is the beginning of, whole."""
        exchange.has_headers = True
        raw = response.headers.raw
        if sum(len(name) + len(value) for name, value in raw) > self._limits.header_bytes:
            raise exchange.headers_too_large()
        self._on_headers(response.headers)

        most = self._limits.body_bytes
        if int(response.headers.get("content-length", "0")) > most:
            raise exchange.body_too_large("is announced as larger than")
        parts = BytesIO()  # a list would have 60 bytes for each chunk of one
        size = 0
        assert isinstance(response.stream, httpx.SyncByteStream)
        for part in response.stream:
            size += len(part)
            if size > most:
                raise exchange.body_too_large("is larger than")
            exchange.claim_for(size)
            parts.write(part)

        body = parts.getvalue()
        del parts  # else it would be held as sent while it is inflated, and afterwards
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if body and encoding not in {"", "identity"}:
            body = self._inflate(body, encoding, exchange)
        body = body.removeprefix(BOM_UTF8)
        if len(body) > self._large.share:
            body = self._large.keep(body)
        left_out = {b"content-encoding", b"content-length", b"transfer-encoding"}
        headers = [(name, value) for name, value in raw if name.lower() not in left_out]
        extensions = {**response.extensions, SENT: size}
        answer = httpx.Response(response.status_code, headers=headers, extensions=extensions)
        answer._content = body  # noqa: SLF001 - httpx would copy it, and it would not be counted
        return answer

    def _inflate(self, sent: bytes, encoding: str, exchange: _Exchange) -> bytes:
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise AnswerRefused(f"the body is encoded as {encoding!r}, which was not asked for")
        try:
            return inflate_body(
                sent, self._limits.body_bytes, lambda size: exchange.claim_for(len(sent) + size)
            )
        except BodyTooLarge:
            how = f"of {len(sent) / _MB:.1f} MB inflates to more than"
            raise exchange.body_too_large(how) from None
        except ValueError as error:
            raise AnswerRefused(str(error)) from error


@dataclass(slots=True, eq=False)
class _LargeBodies:
    """Keeps large bodies, those of more than `share` bytes, from filling the memory together.

    One is read at a time; and it waits for those that are being worked on, as long as they come to
    their ends. Not for ever: who works on one may have to ask for another first.
    """

    share: int
    _kept: int = 0
    _is_reading: bool = False
    # Reentrant, because a body may be given back by garbage collection, anywhere.
    _changed: threading.Condition = field(
        default_factory=lambda: threading.Condition(threading.RLock())
    )

    def keep(self, body: bytes) -> bytes:
        """A large body, which counts as kept from now on: as long as it or a view of it lives."""
        kept = _LargeBody(body)
        kept.owner = self
        self.add(len(kept))
        return kept

    def add(self, size: int) -> None:
        """Counts so many bytes more as kept, or less."""
        with self._changed:
            self._kept += size
            self._changed.notify_all()

    def begin(self, patience: float) -> bool:
        """Returns when it is the turn of a large body, or after so many seconds: whether it is."""
        with self._changed:
            while not self._has_room() and self._changed.wait(_PATIENCE):
                pass
            if not self._changed.wait_for(lambda: not self._is_reading, patience):
                return False
            self._is_reading = True
            return True

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


@dataclass(slots=True, eq=False)
class _BoundedBackend(httpcore.NetworkBackend):
    """Opens connections whose reads and writes end with the exchange that they are for."""

    inner: httpcore.NetworkBackend
    current: threading.local
    limits: AnswerLimits

    @override
    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any
    ) -> httpcore.NetworkStream:
        left = self.current.exchange.time_left(timeout)
        stream = self.inner.connect_tcp(host, port, left, *args, **options)
        return _BoundedStream(stream, self.current, self.limits.header_bytes + _READ)

    @override
    def sleep(self, seconds: float) -> None:
        self.inner.sleep(seconds)


@dataclass(slots=True, eq=False)
class _BoundedStream(httpcore.NetworkStream):
    """A connection: what is read and written on it counts for the exchange of this thread."""

    inner: httpcore.NetworkStream
    current: threading.local
    most_before_body: int

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        exchange: _Exchange = self.current.exchange
        try:
            data = self.inner.read(max_bytes, exchange.time_left(timeout))
        except httpcore.ReadTimeout:
            if exchange.received:
                raise exchange.too_slow() from None
            raise
        exchange.received += len(data)
        if not exchange.has_headers and exchange.received > self.most_before_body:
            raise exchange.headers_too_large()
        return data

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.inner.write(buffer, self.current.exchange.time_left(timeout))

    @override
    def close(self) -> None:
        self.inner.close()

    @override
    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self.inner.start_tls(ssl_context, server_hostname, timeout)
        return _BoundedStream(secured, self.current, self.most_before_body)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)
