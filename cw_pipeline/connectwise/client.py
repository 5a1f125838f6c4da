"""Asking ConnectWise: one request at a time, checked, retried and counted."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import msgspec
from typing_extensions import override

from cw_pipeline.connectwise.answers import SENT, AnswerLimits, AnswerRefused, bound_answers
from cw_pipeline.connectwise.auth import Impersonation
from cw_pipeline.connectwise.query import API, Query, Request
from cw_pipeline.connectwise.rate_limit import ConcurrencyLimit, RateLimiter
from cw_pipeline.connectwise.response import SourceClock, decode_small, raise_for_status
from cw_pipeline.connectwise.retry import (
    BACKGROUND,
    INTERACTIVE,
    CircuitBreaker,
    Outage,
    Policy,
    RetryBudget,
    call_with_retries,
)
from cw_pipeline.connectwise.site import certificate_fault, handshake_fault, trust
from cw_pipeline.errors import (
    Interrupted,
    SourceBroken,
    SourceBusy,
    SourceDenied,
    SourceDown,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
)
from cw_pipeline.machine import THIS, Machine
from cw_pipeline.model import ApiVersions

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cw_pipeline.connectwise.site import Credentials, Site
    from cw_pipeline.model import ClockReading


def explain_transport_error(error: httpx.TransportError) -> str:
    """What went wrong on the way, and what to look at."""
    if fault := handshake_fault(error):
        return fault
    if isinstance(error, httpx.ConnectError):
        return f"cannot connect ({error}). Check CW_SITE, DNS and the firewall"
    return f"the connection broke ({str(error) or type(error).__name__})"


def text(body: bytes) -> str:
    """The beginning of a body, to show."""
    return body[:2000].decode("utf-8", "replace")


@dataclass(slots=True, eq=False)
class RequestCounts:
    """What asking has cost so far. Safe to share between threads."""

    requests: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, *, requests: int = 0, retries: int = 0, throttled_seconds: float = 0.0) -> None:
        """Adds to the counts."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.throttled_seconds += throttled_seconds


T = TypeVar("T")
log = logging.getLogger(__name__)

_UNKNOWN_PAUSE = 15.0  # seconds after a 429 that does not say how long
_REDISCOVER = 60.0  # seconds in which a codebase that was just asked for is believed
_GLANCE = 1.0  # seconds between looks at what others found out
_USUAL_ANSWERS = AnswerLimits()
_WRITTEN = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT)
_COMPANY_INFO_TIMEOUT = 10.0  # seconds, when it is asked whether anything answers


class ConnectWise(AbstractContextManager["ConnectWise"]):
    """A ConnectWise tenant, as its API member may see it. A context manager.

    Once `stopping` is set, everything that waits raises Interrupted. `versions`: which version of
    the API its paths are asked in. `clock`: what time it is there. `tally`: all that was asked.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        site: Site,
        credentials: Credentials,
        *,
        api_version: str = "2025.1",
        gate: RateLimiter | None = None,
        policy: Policy = BACKGROUND,
        timeout: float = 60.0,
        max_concurrency: int = 8,
        ca_file: str | None = None,
        stopping: Event | None = None,
        clock: SourceClock | None = None,
        answer_limits: AnswerLimits = _USUAL_ANSWERS,
        machine: Machine = THIS,
    ) -> None:
        self._stopping = stopping or Event()
        self._machine = machine
        self._outage, self._breaker = Outage(machine), CircuitBreaker(machine)
        self.versions = ApiVersions.of(api_version)
        self._site = site
        self._company = credentials.company
        self._secrets = credentials.secrets
        info = f"{site.info}/login/companyinfo/{credentials.company}"
        self._company_request = Request(info, anonymous=True)
        self._gate = gate or RateLimiter(stopping=self._stopping, machine=machine)
        self._policy = policy
        self._pace = ConcurrencyLimit(max_concurrency, machine)
        self._retry_budget = RetryBudget()
        self._lock = Lock()
        self._judging = Lock()
        self._base = ""
        self._base_at = float("-inf")
        self.clock = clock or SourceClock(machine=machine)
        self.tally = RequestCounts()
        self._auth: httpx.Auth = (
            Impersonation(credentials, lambda: self._base, machine)
            if credentials.impersonate
            # The guide's Basic authorization: `company+publickey:privatekey`.
            else httpx.BasicAuth(
                f"{credentials.company}+{credentials.public_key}", credentials.private_key
            )
        )
        self._http = httpx.Client(
            headers={
                "Accept-Encoding": "gzip",
                "clientId": credentials.client_id,
                "User-Agent": "cw_pipeline",
            },
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            # One more than requests: company info is asked while all others hang.
            limits=httpx.Limits(max_connections=max_concurrency + 1, keepalive_expiry=30.0),
            transport=(transport := machine.transport()),
            verify=trust(ca_file) if transport is None else False,
            # A proxy that is set for the Internet cannot reach this machine's own address.
            trust_env=not site.is_loopback,
        )
        bound_answers(
            self._http,
            answer_limits,
            max_concurrency,
            on_headers=lambda headers: self.clock.note_answer(
                headers.get("date", ""), self._gate.warehouse_ahead
            ),
        )

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    @property
    def base(self) -> str:
        """Where the API is, as company info said last; empty before it was asked."""
        return self._base

    def now(self) -> ClockReading:
        """The clocks at the latest answer. Asks, if there was none."""
        with self._lock:  # the entities that start together ask once
            if self.clock.reading is None:
                self.find_codebase()
        reading = self.clock.reading
        assert reading is not None, "company info was answered"
        return reading

    def ask(
        self,
        question: Query | Request,
        read: Callable[[bytes], T],
        *tallies: RequestCounts,
        policy: Policy | None = None,
    ) -> T:
        """What `read` makes of the answer. A body that it cannot read counts as broken.

        Raises a SourceError when asking again did not help, or cannot.
        """
        if isinstance(question, Query):
            question = question.request()
        with self._lock:
            if not self._base:
                self.find_codebase()
            base = self._base
        path, policy = question.url, policy or self._policy
        try:
            return self._ask_while_up(replace(question, url=f"{base}{path}"), read, tallies, policy)
        except SourceMissing:
            # The night of an upgrade moves the codebase: a 404 never means "empty". So it is asked
            # once more, where company info now says that the API is.
            with self._lock:
                if self._base == base and self._machine.monotonic() - self._base_at > _REDISCOVER:
                    self.find_codebase()
                moved = self._base
            if moved == base:
                raise
            question = replace(question, url=f"{moved}{path}")
            return self._ask_while_up(question, read, tallies, policy)

    def get(
        self,
        path: str,
        read: Callable[[bytes], T],
        *tallies: RequestCounts,
        policy: Policy | None = None,
    ) -> T:
        """What `read` makes of the answer to a GET below the API's base. Raises as `ask` does."""
        return self.ask(Request(path), read, *tallies, policy=policy)

    def write(self, method: str, path: str, body: object = None) -> None:
        """Changes something at the source: a POST, PATCH or DELETE below the API's base.

        Sent once, because what was answered too late may have been done. Raises SourceError.
        """
        with self._lock:
            if not self._base:
                self.find_codebase()
        content = None if body is None else msgspec.json.encode(body)
        question = Request(f"{self._base}{path}", body=content, method=method)
        with self._pace.slot(self._stopping):
            self._gate.wait_for_turn()
            answer = self._exchange(question)
        if answer.status_code not in _WRITTEN:
            raise_for_status(answer.status_code, answer.headers, answer.content, question)

    def is_reachable(self, *tallies: RequestCounts) -> bool:
        """Whether the API answers at all: a refusal is an answer, a server error is none."""
        try:
            self.get("/system/info", decode_small, *tallies, policy=INTERACTIVE)
        except (SourceBroken, SourceDown):
            return False
        except SourceError:
            return True
        return True

    def count(self, path: str, conditions: str, *tallies: RequestCounts) -> int:
        """How many records the list's `/count` says there are."""
        query = {"conditions": conditions} if conditions else {}
        url = str(httpx.URL(f"{path.rstrip('/')}/count", params=query))
        return self.get(url, _count, *tallies)

    def find_codebase(self) -> dict[str, Any]:
        """Company info, from which the API's base URL follows (guide: "Calling Company Info").

        Raises SourceDenied if there is no ConnectWise at CW_SITE or it does not know CW_COMPANY.
        """
        info = self.company_info()
        if not isinstance(info, dict) or not info.get("Codebase"):
            raise SourceDenied(
                f"CW_COMPANY={self._company!r} is not known at {self._site.info}: it is the company"
                " id of the login page"
            )
        self._base = self._site.base(str(info["Codebase"]))
        self._base_at = self._machine.monotonic()
        return info

    def company_info(self) -> Any:  # noqa: ANN401 - whatever the site answers
        """What CW_SITE says of the company, known or not.

        Raises SourceDenied if there is no ConnectWise.
        """
        try:
            return self._ask_while_up(self._company_request, decode_small, (), self._policy)
        except SourceMissing as error:
            raise SourceDenied(
                f"CW_SITE: no ConnectWise answers there ({error}). Set it to the host of the login"
                " page, such as na.myconnectwise.net"
            ) from error

    def forget_failures(self) -> None:
        """Lets a new call ask as a new process would, whatever ended the one before."""
        self._outage, self._breaker = Outage(self._machine), CircuitBreaker(self._machine)
        self._retry_budget = RetryBudget()

    def _judge_outage(self, policy: Policy, started: float) -> None:
        """After a question that failed for good. Raises SourceUnreachable if nothing answers.

        One that was asked with less patience than usual proves nothing: the outage may pass.
        """
        if policy is self._policy and self._outage.is_possible(started):
            self._confirm_outage()

    def _confirm_outage(self) -> None:
        """Raises SourceUnreachable if company info does not answer either."""
        with self._judging:
            if self._outage.verdict:
                raise SourceUnreachable(self._outage.verdict)
            question = self._company_request
            try:
                answer = self._exchange(question, _COMPANY_INFO_TIMEOUT)
                raise_for_status(answer.status_code, answer.headers, answer.content, question)
            except (SourceBroken, SourceDown):
                self._outage.establish()
            except SourceError:
                return

    def _ask_while_up(
        self,
        question: Request,
        read: Callable[[bytes], T],
        tallies: tuple[RequestCounts, ...],
        policy: Policy,
    ) -> T:
        """What `read` makes of the answer."""
        counted = (self.tally, *tallies)
        once = partial(self._patiently, question, read, counted, policy.patience)

        def wait_to_retry(attempt: int, seconds: float, error: Exception) -> None:
            # Guide: log what is retried. A warning, because Dagster shows these in a run's log.
            tries = (attempt, policy.attempts)
            log.warning("asked again in %.1f s, try %d of %d: %s", seconds, *tries, error)
            self._wait(seconds)
            for tally in counted:
                tally.add(retries=1)

        self._check()
        self._breaker.check()
        machine = self._machine
        started = machine.monotonic()
        try:
            answer = call_with_retries(policy, once, wait_to_retry, self._retry_budget, machine)
        except (SourceBroken, SourceDown) as error:
            error.request = str(question)
            self._breaker.note_failure()
            self._judge_outage(policy, started)
            raise
        except SourceError as error:
            error.request = str(question)
            self._breaker.note_answer()
            raise
        self._breaker.note_answer()
        return answer

    def _check(self) -> None:
        """Raises SourceUnreachable or Interrupted when nothing more is to be asked."""
        if self._outage.verdict:  # first: it is why the run is stopping
            raise SourceUnreachable(self._outage.verdict)
        if self._stopping.is_set():
            raise Interrupted("interrupted")

    def _wait(self, seconds: float) -> None:
        """Returns when the next try is due, or raises as `_check` does."""
        if self._outage.is_long:
            self._confirm_outage()
        until = self._machine.monotonic() + seconds
        while (left := until - self._machine.monotonic()) > 0:
            self._machine.wait(self._stopping, min(left, _GLANCE))
            self._check()
            self._outage.say_if_due()

    def _patiently(
        self,
        question: Request,
        read: Callable[[bytes], T],
        tallies: tuple[RequestCounts, ...],
        patience: float,
    ) -> T:
        """What `read` makes of the answer, after however many pauses ConnectWise asks for."""
        while True:
            try:
                body, took = self._send(question, tallies)
            except SourceBusy as error:
                self._pace.note_refusal()
                pause = _UNKNOWN_PAUSE if error.retry_after is None else error.retry_after
                patience -= pause + 1.0
                if patience < 0:
                    raise
                log.warning("ConnectWise asks for a pause of %.0f s: %s", pause, error)
                self._gate.pause(pause)
                for tally in tallies:
                    tally.add(retries=1)
                continue
            try:
                return read(body)
            except (msgspec.DecodeError, UnicodeDecodeError, SourceBroken) as error:
                broken = SourceBroken(f"{question}: {error}", 200, text(body))
            broken.leave_out(self._secrets)
            broken.seconds = took
            del body  # errors are kept for a while, with the frames that they were raised in
            raise broken

    def _send(self, question: Request, tallies: tuple[RequestCounts, ...]) -> tuple[bytes, float]:
        """The body, when its turn has come, and in how many seconds. Notes whether any came."""
        started = self._machine.monotonic()
        try:
            with self._pace.slot(self._stopping):
                waited = self._gate.wait_for_turn()
                for tally in tallies:
                    tally.add(requests=1, throttled_seconds=waited)
                started = self._machine.monotonic()
                answer = self._exchange(question)
                took = self._machine.monotonic() - started
            raise_for_status(answer.status_code, answer.headers, answer.content, question)
        except (SourceBroken, SourceDown) as error:
            error.leave_out(self._secrets)
            error.seconds = self._machine.monotonic() - started
            self._outage.note_failure(error)
            raise
        except SourceError as error:
            error.leave_out(self._secrets)
            self._outage.note_answer()
            raise
        self._outage.note_answer()
        # Whichever part of the list it was, and below whichever parent.
        asked_list = re.sub(r"\d+", "", question.url.partition("?")[0])
        self._pace.note_answer(took, (asked_list, answer.extensions[SENT].bit_length()))
        return answer.content, took

    def _exchange(self, question: Request, timeout: float | None = None) -> httpx.Response:
        """The answer, whole and inflated. Raises SourceBroken where it goes beyond a limit."""
        version = self.versions.version_of(question.url.split(API, 1)[-1])
        headers = {
            **question.headers,
            "Accept": f"application/vnd.connectwise.com+json; version={version}",
        }
        if question.body is not None:
            headers["Content-Type"] = "application/json"
        try:
            return self._http.request(
                question.method,
                question.url,
                headers=headers,
                content=question.body,
                auth=None if question.anonymous else self._auth,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
            )
        except AnswerRefused as refusal:
            raise SourceBroken(
                f"{question}: {refusal}", is_too_large=refusal.is_too_large
            ) from refusal
        except httpx.TimeoutException as error:
            raise SourceDown(f"{question}: no answer in time", timed_out=True) from error
        except httpx.TransportError as error:
            if fault := certificate_fault(error):
                raise SourceDenied(f"{question}: {fault}") from error
            raise SourceDown(f"{question}: {explain_transport_error(error)}") from error


def _count(body: bytes) -> int:
    """The number in a `/count` answer. Raises SourceRefused if there is none: asked in vain."""
    found = decode_small(body)
    if not isinstance(found, dict) or not isinstance(found.get("count"), int):
        raise SourceRefused(f"no count in the answer: {text(body)[:100]}", 200)
    return int(found["count"])
