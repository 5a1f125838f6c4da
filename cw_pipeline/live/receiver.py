"""The receiver: takes callbacks, and answers once their hints are committed.

A process of its own, which imports nothing of the engine: a pass that decodes pages must not keep
ConnectWise waiting, and a worker that dies must not lose callbacks. It is given the tenants' names
and the warehouse's address, and no keys of the API.

Answers go by what ConnectWise does with them: it repeats 404, 409, 419 and 429 alone, and switches
a registration off after three days of failures.

| answer | when |
| --- | --- |
| 204 | the hint is committed, or the type is not synced |
| 401 | no signature |
| 403 | no token of ours, another company's, another host's key, or a wrong signature |
| 408 | the body took longer than five seconds |
| 413 | the body is larger than 1 MB |
| 422 | the body is no callback's |
| 429 | the warehouse, or the key, cannot be had now |
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import sys
import time
import weakref
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cw_pipeline.address import parse_address, passwords
from cw_pipeline.connectwise import trust
from cw_pipeline.errors import PipelineError, WarehouseError
from cw_pipeline.live.hints import Hint, count_callbacks, note_receiver, put_hints
from cw_pipeline.live.signature import Listener, Message, decode_message, is_signed, token_of
from cw_pipeline.live.signing_keys import KeyUnavailable, SigningKeys
from cw_pipeline.warehouse.connections import Session, connect, named_failures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

log = logging.getLogger(__name__)

_LARGEST = 1 << 20  # bytes of a body
_SLOWEST = 5.0  # seconds for a body to arrive
_SLOWEST_HEAD = 10.0  # seconds for what comes before it, on a connection that is open
_COMMITTED = 4.0  # seconds for a hint to be committed: the vendor waits five
_WAITING = 20_000  # hints that may wait for the warehouse
_AT_ONCE = 5_000  # hints in one transaction
_COUNTED = 3.0  # seconds between the writes of the counts
_AFTER_FAILURE = 10.0  # seconds until they are tried again
_HEARD = 30.0  # seconds between notes that it listens
_CONNECTIONS = 12_000


@dataclass(frozen=True, slots=True)
class CallbackRefused(Exception):
    """Why a callback is not taken, in a word, and the status that says so."""

    reason: str
    status: int


class HintWriter:
    """Commits hints: all that wait in one transaction, over one kept connection."""

    def __init__(self, address: str, tenants: Iterable[str]) -> None:
        self._address = address
        self._tenants = frozenset(tenants)
        self._heard_at = self._counted_at = float("-inf")
        self._hidden = passwords(parse_address(address))
        self._session: Session | None = None
        self._waiting: list[tuple[Hint, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self.counts: Counter[tuple[str, str]] = Counter()

    async def put(self, hint: Hint) -> None:
        """Returns when the hint is committed. Raises WarehouseError if that cannot be now."""
        if len(self._waiting) >= _WAITING:
            raise WarehouseError("too many hints wait for the warehouse")
        committed = asyncio.get_running_loop().create_future()
        self._waiting.append((hint, committed))
        self._arrived.set()
        try:
            await asyncio.wait_for(committed, _COMMITTED)
        except TimeoutError:
            raise WarehouseError("the warehouse took too long") from None

    async def run(self) -> None:
        """Writes what is put, the counts, and that it listens, until it is cancelled."""
        self._arrived.set()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), _COUNTED)
            self._arrived.clear()
            # Whoever did not wait any longer was answered 429, and his hint comes again.
            self._waiting = [each for each in self._waiting if not each[1].done()]
            now, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            if self._waiting:
                self._arrived.set()
            await self._commit(now)

    async def _commit(self, waiting: Sequence[tuple[Hint, asyncio.Future[None]]]) -> None:
        error: PipelineError | None = None
        try:
            if waiting:
                await asyncio.to_thread(self._put, [hint for hint, _ in waiting])
        except PipelineError as failure:
            log.warning("the warehouse takes no hints now: %s", failure)
            error = failure
        for _, committed in waiting:
            if not committed.done():
                committed.set_exception(error) if error else committed.set_result(None)
        if error is None:
            await self._account()

    async def _account(self) -> None:
        """Writes what was counted, and that it listens, now and then.

        No caller waits for it, but hints that come meanwhile do.
        """
        now = time.monotonic()
        is_to_be_heard = now - self._heard_at >= _HEARD
        if now - self._counted_at < _COUNTED or not (self.counts or is_to_be_heard):
            return
        counts, self.counts = self.counts, Counter()
        try:
            await asyncio.to_thread(self._note, counts, is_to_be_heard)
        except PipelineError as error:
            log.warning("the warehouse takes no counts now: %s", error)
            self.counts.update(counts)
            self._counted_at = now + _AFTER_FAILURE - _COUNTED
        else:
            self._counted_at = now
            self._heard_at = now if is_to_be_heard else self._heard_at

    def _put(self, hints: list[Hint]) -> None:
        with self._open_session() as session:
            put_hints(session, hints)  # one statement, and so one round trip to its commit

    def _note(self, counts: Counter[tuple[str, str]], is_to_be_heard: bool) -> None:  # noqa: FBT001
        with self._open_session() as session, session.transaction():
            session.pin()
            count_callbacks(session, counts)
            if is_to_be_heard:
                note_receiver(session, self._tenants)

    @contextmanager
    def _open_session(self) -> Iterator[Session]:
        """The connection that is kept, or a new one after a failure. Raises WarehouseError."""
        try:
            with named_failures(self._hidden):
                if self._session is None:
                    self._session = connect(self._address, autocommit=True)
                yield self._session
        except BaseException:
            self.close()  # the next one connects anew
            raise

    def close(self) -> None:
        """Ends the connection, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class Receiver:
    """Takes the callbacks of some tenants. `app` is the ASGI application."""

    def __init__(
        self, listeners: Sequence[Listener], address: str, ca_file: str | None = None
    ) -> None:
        self._listeners = {_digest(each.token): each for each in listeners}
        self._address = address
        self._ca_file = ca_file
        self._keys: SigningKeys
        self._writer: HintWriter
        self.app = Starlette(
            routes=[
                Route("/callbacks/{rest:path}", self._take, methods=["POST"]),
                Route("/health", self._health),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        # A proxy that is set for the Internet cannot reach this machine's own address.
        origins = [each for one in self._listeners.values() for each in one.origins]
        direct = {_address(*each): None for each in origins if each[0] == "http"}
        async with httpx.AsyncClient(verify=trust(self._ca_file), mounts=direct) as http:
            self._keys = SigningKeys(http)
            self._writer = HintWriter(
                self._address, (each.tenant for each in self._listeners.values())
            )
            writing = asyncio.create_task(self._writer.run())
            try:
                yield
            finally:
                writing.cancel()
                with suppress(asyncio.CancelledError):
                    await writing
                self._writer.close()

    async def _take(self, request: Request) -> Response:
        listener = self._listeners.get(_digest(token_of(request.url.path)))
        name = listener.tenant if listener else ""
        try:
            outcome = await self._verify_and_keep(request, listener)
        except CallbackRefused as refusal:
            self._writer.counts[name, refusal.reason] += 1
            return Response(status_code=refusal.status)
        self._writer.counts[name, outcome] += 1
        return Response(status_code=204)

    async def _verify_and_keep(self, request: Request, listener: Listener | None) -> str:
        """What became of a callback that is in order. Raises CallbackRefused."""
        if listener is None:
            raise CallbackRefused("token", 403)
        message, body = await _read(request)
        signed = request.headers.get("x-content-signature", "").encode("latin-1")
        if not signed:
            raise CallbackRefused("unsigned", 401)
        if not listener.owns(message):
            raise CallbackRefused("other tenant", 403)
        await self._verify(message, body, signed)
        if not listener.wants(message):
            return "not synced"
        try:
            await self._writer.put(_hint(listener.tenant, message))
        except WarehouseError:
            raise CallbackRefused("warehouse away", 429) from None
        return "taken"

    async def _verify(self, message: Message, body: bytes, signed: bytes) -> None:
        """Returns if the signature is right, under the key as it is now. Raises CallbackRefused."""
        for again in (False, True):
            try:
                key = await self._keys.key(message.metadata.key_url, again=again)
            except KeyUnavailable as error:
                log.warning("%s", error)
                raise CallbackRefused("key unavailable", 429) from None
            if key is not None and is_signed(key, body, signed):
                return
        raise CallbackRefused("signature", 403)

    async def _health(self, _: Request) -> Response:
        """For a load balancer: that it listens. If the warehouse is away, senders are told."""
        return JSONResponse({"status": "ok"})


def _address(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _hint(tenant: str, message: Message) -> Hint:
    """What a message says may have changed.

    A site is read below its company, which the record names; a site that is gone has no record.
    """
    if message.type.lower() == "site" and message.company is not None:
        return Hint(tenant, "company", message.company, "updated")
    return Hint(tenant, message.type.lower(), message.id, message.action, message.stamp)


def _digest(token: str) -> bytes:
    """Looked up by digest, so that how long it takes says nothing of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def _read(request: Request) -> tuple[Message, bytes]:
    """The message and its raw body, which is what is signed. Raises CallbackRefused."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > _LARGEST:
        raise CallbackRefused("too large", 413)
    body = bytearray()
    try:
        async with asyncio.timeout(_SLOWEST):
            async for part in request.stream():
                body += part
                if len(body) > _LARGEST:
                    raise CallbackRefused("too large", 413)
    except TimeoutError:
        raise CallbackRefused("too slow", 408) from None
    except ClientDisconnect:
        raise CallbackRefused("broken off", 408) from None
    message = decode_message(bytes(body))
    if message is None:
        raise CallbackRefused("malformed", 422)
    return message, bytes(body)


def server(app: Any, host: str, port: int) -> uvicorn.Server:  # noqa: ANN401 - an ASGI application
    """What serves the application, once it is run. Lets this process have as many files open."""
    _raise_file_limit()
    protocol: Any = _connection
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        backlog=4096,
        limit_concurrency=_CONNECTIONS,
        access_log=False,
        log_config=None,  # to where this process logs
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def _connection(**given: Any) -> Any:  # noqa: ANN401 - uvicorn's
    """A connection as uvicorn serves it, which has no limit of its own for a request's head."""
    made: Any = AutoHTTPProtocol(**given)
    _let_go_if_silent(weakref.ref(made), asyncio.get_running_loop())
    return made


def _let_go_if_silent(
    served: weakref.ref[Any],
    loop: asyncio.AbstractEventLoop,
    seen: weakref.ref[Any] | None = None,
) -> None:
    """Closes a connection on which there was no request since the last look, every so often.

    `seen`: the request that was the latest one then. A proxy keeps connections for many.
    """
    made = served()
    if made is None or (made.transport is not None and made.transport.is_closing()):
        return
    latest = made.cycle
    is_answered = latest is not None and latest.response_complete
    is_silent = latest is None or (is_answered and seen is not None and seen() is latest)
    if made.transport is not None and is_silent:
        made.transport.close()
    else:
        seen = weakref.ref(latest) if is_answered else None
        loop.call_later(_SLOWEST_HEAD, _let_go_if_silent, served, loop, seen)


def _raise_file_limit() -> None:
    """Each connection is a file, and the usual limit is 1,024."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - Windows has none

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * _CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * _CONNECTIONS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main() -> None:
    """Serves what the first line of stdin describes, until stdin ends: with who started it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    given = json.loads(sys.stdin.readline())
    Thread(target=_end_with_parent, name="parent", daemon=True).start()
    listeners = [Listener.of(**each) for each in given["listeners"]]
    app = Receiver(listeners, given["address"], given["ca_file"]).app
    server(app, given["host"], given["port"]).run()


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
