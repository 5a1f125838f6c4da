"""Asking ConnectWise: one request at a time, checked, retried and counted."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
import msgspec

from cw_pipeline.errors import (
    ConfigError,
    SourceBroken,
    SourceBusy,
    SourceDown,
    SourceError,
    SourceMissing,
)
from cw_pipeline.extract.gate import Gate
from cw_pipeline.extract.response import check, http_date
from cw_pipeline.extract.retry import BACKGROUND, Policy, retried

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from cw_pipeline.extract.query import Query
    from cw_pipeline.extract.site import Credentials, Site

T = TypeVar("T")

_UNKNOWN_PAUSE = 15.0  # seconds after a 429 that does not say how long
_REDISCOVER = 60.0  # seconds in which a codebase that was just asked for is believed
_NO_DATE_LAG = timedelta(minutes=5)
_GZIP_OR_ZLIB = 47


@dataclass(slots=True)
class Tally:
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


class ConnectWise:
    """A ConnectWise tenant, as its API member may see it. A context manager."""

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        site: Site,
        credentials: Credentials,
        *,
        api_version: str = "2025.1",
        gate: Gate | None = None,
        policy: Policy = BACKGROUND,
        timeout: float = 60.0,
        max_concurrency: int = 8,
    ) -> None:
        self._site = site
        self._company = credentials.company
        self._gate = gate or Gate()
        self._policy = policy
        self._slots = BoundedSemaphore(max_concurrency)
        self._lock = Lock()
        self._base = ""
        self._base_at = float("-inf")
        self._now: datetime | None = None
        self.tally = Tally()
        user = f"{credentials.company}+{credentials.public_key}"
        self._auth = httpx.BasicAuth(user, credentials.private_key)
        self._http = httpx.Client(
            headers={
                "Accept": f"application/vnd.connectwise.com+json; version={api_version}",
                "Accept-Encoding": "gzip",
                "clientId": credentials.client_id,
                "User-Agent": "cw_pipeline",
            },
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            limits=httpx.Limits(max_connections=max_concurrency, keepalive_expiry=30.0),
            trust_env=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def now(self) -> datetime:
        """The source's clock: the `Date` of its latest answer. Asks, if it never answered."""
        if self._now is None:
            self.discover()
        if self._now is None:
            # A server without `Date`: our clock, kept well behind, is all there is.
            return datetime.now(UTC) - _NO_DATE_LAG
        return self._now

    def ask(self, query: Query, read: Callable[[bytes], T], *tallies: Tally) -> T:
        """What `read` makes of the answer. A body that it cannot read counts as broken.

        Raises a SourceError when asking again did not help, or cannot.
        """
        return self.get(query.url(), read, *tallies, headers=query.headers())

    def get(
        self,
        path: str,
        read: Callable[[bytes], T],
        *tallies: Tally,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """What `read` makes of the answer to a GET below the API's base."""
        return self._anywhere(lambda base: self._asked(f"{base}{path}", read, tallies, headers))

    def count(self, path: str, conditions: str, *tallies: Tally) -> int:
        """How many records the list's `/count` says there are."""
        query = {"conditions": conditions} if conditions else {}
        url = str(httpx.URL(f"{path.rstrip('/')}/count", params=query))
        found = self.get(url, msgspec.json.decode, *tallies)
        return int(found["count"])

    def discover(self) -> dict[str, Any]:
        """Company info, from which the API's base URL follows (guide: "Calling Company Info")."""
        url = f"{self._site.info}/login/companyinfo/{self._company}"
        try:
            info = self._asked(url, msgspec.json.decode, (), None, anonymous=True)
        except SourceMissing as error:
            raise ConfigError(f"CW_SITE: no ConnectWise answers there ({error})") from error
        if not isinstance(info, dict) or not info.get("Codebase"):
            raise ConfigError(
                f"CW_COMPANY={self._company!r} is not known at {self._site.info}: it is the company"
                " id of the login page"
            )
        self._base = self._site.base(str(info["Codebase"]))
        self._base_at = time.monotonic()
        return info

    def _anywhere(self, ask: Callable[[str], T]) -> T:
        """Asks at the known base; on a 404 once more where company info now says it is."""
        with self._lock:
            if not self._base:
                self.discover()
            base = self._base
        try:
            return ask(base)
        except SourceMissing:
            # The night of an upgrade moves the codebase: a 404 never means "empty".
            with self._lock:
                if self._base == base and time.monotonic() - self._base_at > _REDISCOVER:
                    self.discover()
                moved = self._base
            if moved == base:
                raise
            return ask(moved)

    def _asked(
        self,
        url: str,
        read: Callable[[bytes], T],
        tallies: tuple[Tally, ...],
        headers: Mapping[str, str] | None,
        *,
        anonymous: bool = False,
    ) -> T:
        counted = (self.tally, *tallies)

        def once() -> T:
            body = self._patiently(url, headers or {}, counted, anonymous=anonymous)
            try:
                return read(body)
            except msgspec.DecodeError as error:
                raise SourceBroken(f"{_shown(url)}: {error}", 200, _text(body)) from error

        def count_retry() -> None:
            for tally in counted:
                tally.add(retries=1)

        return retried(self._policy, once, count_retry)

    def _patiently(
        self, url: str, headers: Mapping[str, str], tallies: tuple[Tally, ...], *, anonymous: bool
    ) -> bytes:
        """The body, after however many pauses ConnectWise asks for."""
        patience = self._policy.patience
        while True:
            try:
                return self._send(url, headers, tallies, anonymous=anonymous)
            except SourceBusy as error:
                pause = _UNKNOWN_PAUSE if error.retry_after is None else error.retry_after
                patience -= pause + 1.0
                if patience < 0:
                    raise
                self._gate.pause(pause)
                for tally in tallies:
                    tally.add(retries=1)

    def _send(
        self, url: str, headers: Mapping[str, str], tallies: tuple[Tally, ...], *, anonymous: bool
    ) -> bytes:
        auth = None if anonymous else self._auth
        with self._slots:
            waited = self._gate.enter()
            for tally in tallies:
                tally.add(requests=1, throttled_seconds=waited)
            try:
                with self._http.stream("GET", url, headers=dict(headers), auth=auth) as response:
                    raw = b"".join(response.iter_raw())
            except httpx.TimeoutException as error:
                raise SourceDown(f"{_shown(url)}: no answer in time", timed_out=True) from error
            except httpx.TransportError as error:
                raise SourceDown(f"{_shown(url)}: {_why(error)}") from error
        self._now = http_date(response.headers.get("date", "")) or self._now
        body = _inflated(raw, response.headers, url)
        check(response.status_code, response.headers, body, _shown(url))
        return body


def _inflated(raw: bytes, headers: Mapping[str, str], url: str) -> bytes:
    """The body as sent. By hand: httpx inflates piece by piece at twice the cost."""
    if headers.get("content-encoding", "identity") == "identity" or not raw:
        return raw
    try:
        return zlib.decompress(raw, _GZIP_OR_ZLIB)
    except zlib.error as error:
        raise SourceBroken(f"{_shown(url)}: a body that does not inflate ({error})", 200) from error


def _shown(url: str) -> str:
    """The request as people read it, in errors and dead letters."""
    parts = httpx.URL(url)
    query = f"?{parts.query.decode()}" if parts.query else ""
    path = parts.path.split("/apis/3.0", 1)[-1]
    return f"GET {path}{query}"


def _why(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"cannot connect ({error}). Check CW_SITE, DNS and the firewall"
    return f"the connection broke ({str(error) or type(error).__name__})"


def _text(body: bytes) -> str:
    return body[:2000].decode("utf-8", "replace")


__all__ = ["ConnectWise", "SourceError", "Tally"]
