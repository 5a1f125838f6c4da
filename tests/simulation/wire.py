"""The network between a simulated process and its tenant: requests are answered in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

import httpx
from typing_extensions import override

from cw_pipeline.simulator.app import App

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from cw_pipeline.simulator.state import State
    from tests.simulation.clock import Clock
    from tests.simulation.process import Process
    from tests.simulation.trace import Trace

_LONG = 60.0  # seconds that an answer may take where the request does not say


class _NoAnswer(Exception):
    """The client gave up waiting."""


class Wire(httpx.BaseTransport):
    """Takes requests to the simulator's own application, and as long as networks take."""

    def __init__(self, simulator: State, clock: Clock, trace: Trace, dice: random.Random) -> None:
        self._simulator = simulator
        self._app = App(simulator)
        self._clock = clock
        self._trace = trace
        self._dice = dice
        self.process: Process

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.process.note_request()
        self._clock.advance(self._dice.uniform(0.01, 0.3))
        self._trace.add(f"{self.process.name} {request.method} {unquote(str(request.url))}")
        answer = self._ask(request)
        if answer.status is None:
            self._break("Server disconnected without sending a response.")
        self._trace.add(f"{self.process.name} {answer.status} {len(answer.body)} bytes")
        self._clock.advance(self._dice.uniform(0.005, 0.05))
        return httpx.Response(answer.status, headers=answer.headers, stream=answer)

    def _ask(self, request: httpx.Request) -> _Answer:
        answer = _Answer()
        body = request.read()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        left = request.extensions.get("timeout", {}).get("read") or _LONG

        async def sleep(seconds: float) -> None:
            self._clock.advance(min(seconds, left))
            if seconds >= left:
                raise _NoAnswer

        before, self._simulator.sleep = self._simulator.sleep, sleep
        called = self._app(_scope(request), receive, answer.receive)
        try:
            called.send(None)  # type: ignore[attr-defined] # it is a coroutine that never waits
        except StopIteration:
            return answer
        except _NoAnswer:
            self._trace.add(f"{self.process.name} no answer in time")
            raise httpx.ReadTimeout("timed out", request=request) from None
        finally:
            self._simulator.sleep = before
            called.close()  # type: ignore[attr-defined]
        raise AssertionError("the simulator waits for something that is not simulated")

    def _break(self, why: str) -> NoReturn:
        self._trace.add(f"{self.process.name} {why}")
        raise httpx.RemoteProtocolError(why)


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "method": request.method,
        "path": unquote(request.url.path),
        "query_string": request.url.query,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": None,
    }


class _Answer(httpx.SyncByteStream):
    """What the simulator sends; its body breaks off where the simulator lets it."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self._is_cut = False

    async def receive(self, message: dict[str, Any]) -> None:
        """Takes one message of ASGI."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")
            self._is_cut = message.get("more_body", False)

    @override
    def __iter__(self) -> Iterator[bytes]:
        yield self.body
        if self._is_cut:
            raise httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body"
            )
