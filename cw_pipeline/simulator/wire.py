"""Requests in and answers out over ASGI, and the ways a connection can break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from cw_pipeline.simulator.answers import Answer


@dataclass(slots=True)
class ReceivedRequest:
    """One request, read whole. Header names are lower case; the last of equal parameters counts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    peer: tuple[str, int] | None = None
    url_length: int = 0


async def receive_request(scope: Any, receive: Callable[[], Awaitable[Any]]) -> ReceivedRequest:  # noqa: ANN401
    """The request with its body."""
    body = b""
    if scope["method"] != "GET":
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    return ReceivedRequest(
        scope["method"],
        scope["path"],
        dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body,
        tuple(scope["client"]) if scope.get("client") else None,
        len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]),
    )


async def send_answer(
    send: Callable[[Any], Awaitable[None]], answer: Answer, *, cut: bool = False
) -> None:
    """Sends the answer; `cut` promises all of it and gives half."""
    headers = {"content-length": str(len(answer.body)), **answer.headers}
    if answer.content_type:
        headers["content-type"] = answer.content_type
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    body = answer.body[: len(answer.body) // 2] if cut else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": cut})


class OpenConnections:
    """Every open connection, so that a fault can break one."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], asyncio.Transport] = {}

    def protocol(self) -> type[asyncio.Protocol]:
        """The server's protocol, which also tells us of each connection it makes and loses."""
        base: Any = AutoHTTPProtocol
        known = self._open

        def note_made(protocol: Any, transport: asyncio.Transport) -> None:  # noqa: ANN401
            known[tuple(transport.get_extra_info("peername"))] = transport
            base.connection_made(protocol, transport)

        def note_lost(protocol: Any, error: Exception | None) -> None:  # noqa: ANN401
            base.connection_lost(protocol, error)
            gone = [peer for peer, each in known.items() if each.is_closing()]
            for peer in gone:
                del known[peer]

        both = {"connection_made": note_made, "connection_lost": note_lost}
        return type("KnownConnection", (base,), both)

    def close(self, peer: tuple[str, int] | None) -> None:
        """Closes a connection in mid-answer: what was written goes out, no more comes."""
        if peer in self._open:
            self._open[peer].close()

    def abort(self, peer: tuple[str, int] | None) -> None:
        """Breaks a connection at once."""
        if peer in self._open:
            self._open[peer].abort()
