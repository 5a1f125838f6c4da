"""The ASGI application: one request, from the door to its answer."""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

from cw_pipeline.simulator import answers, system
from cw_pipeline.simulator.answers import Answer, Refusal
from cw_pipeline.simulator.api import Api
from cw_pipeline.simulator.query import page_size
from cw_pipeline.simulator.state import RecordedRequest
from cw_pipeline.simulator.tenant import canonical
from cw_pipeline.simulator.wire import ReceivedRequest, receive_request, send_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cw_pipeline.simulator.faults import Fault
    from cw_pipeline.simulator.state import State

_LONGEST_URL = 10_000
"""Characters; whoever has more to ask uses /search."""


class App:
    """Answers requests from the state of a simulator."""

    def __init__(self, sim: State) -> None:
        self._sim = sim
        self._api = Api(sim)

    async def __call__(
        self,
        scope: Any,  # noqa: ANN401
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """One ASGI request."""
        if scope["type"] != "http":
            return
        request = await receive_request(scope, receive)
        api_path = self._api_path(request.path)
        fault = self._fault(request, api_path)
        answer = await self._answer(request, api_path, fault)
        self._note(request, api_path, answer)
        if answer is None:
            self._sim.connections.abort(request.peer)
            return
        self._dress(answer)
        cut = fault is not None and fault.kind == "drop"
        await send_answer(send, answer, cut=cut)
        if cut:
            self._sim.connections.close(request.peer)

    def _api_path(self, path: str) -> str | None:
        """The part after `…/apis/3.0`; None where another server would answer."""
        bases = "|".join(
            re.escape(each.strip("/")) for each in (self._sim.codebase, system.ON_PREMISE)
        )
        match = re.match(rf"/(?:{bases})//?apis/3\.0(/.*)\Z", path, re.IGNORECASE)
        return match[1] if match else None

    def _fault(self, request: ReceivedRequest, api_path: str | None) -> Fault | None:
        """The fault of this request, if one strikes. Only a fault that names it hits the login."""
        if not self._sim.faults.all:
            return None
        path = canonical(api_path or request.path)
        return self._sim.faults.strikes(path, page_size(request.query), login=api_path is None)

    async def _answer(
        self, request: ReceivedRequest, api_path: str | None, fault: Fault | None
    ) -> Answer | None:
        """The answer; None where there is none and the connection breaks."""
        if self._sim.latency:
            await self._sim.sleep(self._sim.latency)
        if fault is not None:
            if fault.kind in {"hang", "slow"}:
                await self._sim.sleep(fault.seconds)
            if fault.kind in {"hang", "reset"}:
                return None
        try:
            answer = self._gate(request, api_path)
        except Refusal as refusal:
            return refusal.answer
        return answer if fault is None else _spoil(answer, fault)

    def _gate(self, request: ReceivedRequest, api_path: str | None) -> Answer:
        """Everything that stands before the API itself: the web server, the budget, the keys."""
        sim = self._sim
        if (free := self._free(request)) is not None:
            return free
        if api_path is None:
            return answers.no_site()
        if request.url_length > _LONGEST_URL:
            return answers.url_too_long()
        if wait := sim.limit.wait():
            return answers.too_many(sim.retry_after(wait), wait)
        sim.keys.check(request.headers, sim.tenant.now())
        if sim.role.forbids(canonical(api_path)):
            return answers.not_allowed()
        return self._api.answer(request, api_path)

    def _free(self, request: ReceivedRequest) -> Answer | None:
        """What is answered without keys and costs no budget."""
        sim = self._sim
        if route := sim.own_routes.get((request.method, request.path)):
            return route()
        if request.path.lower().startswith("/login/companyinfo/"):
            asked_for = unquote(request.path.rsplit("/", 1)[1])
            return system.company_info(sim.keys.company, asked_for, sim.codebase, sim.url)
        return sim.callbacks.key(request.path, request.query)

    def _note(self, request: ReceivedRequest, api_path: str | None, answer: Answer | None) -> None:
        seen = RecordedRequest(
            request.method,
            canonical(api_path or request.path),
            request.query,
            answer.status if answer else 0,
            self._sim.tenant.now(),
            request.headers.get("accept", "").partition("version=")[2],
            request.headers.get("pagination-type", "").lower() == "forward-only",
        )
        self._sim.requests.append(seen)

    def _dress(self, answer: Answer) -> None:
        if (date := self._sim.date()) is not None:
            answer.headers["Date"] = format_datetime(date, usegmt=True)
        answer.headers["x-cw-request-id"] = str(uuid4())
        answer.headers["api-current-version"] = "2025.1"


_TIMEOUT = (
    "Execution Timeout Expired. The timeout period elapsed prior to completion of the operation "
    "or the server is not responding."
)


def _spoil(answer: Answer, fault: Fault) -> Answer:
    """The answer as the fault leaves it."""
    match fault.kind:
        case "429":
            answer = answers.too_many(str(fault.retry_after), fault.retry_after)
        case "500":
            answer = answers.broken()
        case "timeout500":
            answer = answers.broken(message=_TIMEOUT)
        case "503":
            answer = Answer(503, b"<html><body>Service Unavailable</body></html>", answers.HTML)
        case "html":
            answer = Answer(200, b"<html><body>Please sign in</body></html>", answers.HTML)
        case "truncated":
            half = answer.body[: len(answer.body) // 2]
            answer = Answer(answer.status, half, answer.content_type, answer.headers)
    return answer
