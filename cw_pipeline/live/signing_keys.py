"""The keys that callbacks are signed with, asked of the tenant and kept for a while."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx
import msgspec

from cw_pipeline.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

_KEPT = 64  # keys: ConnectWise has one for each registration, and changes them in time
_BELIEVED = 24 * 3600.0  # seconds for which a key is not asked again
_AGAIN = 60.0  # seconds between two questions for one address, whatever came of the first
_BURST, _EVERY = 10, 10.0  # questions at once, and seconds until one more may be asked
_TIMEOUT = 2.0  # seconds: the vendor waits five for our answer
_MOST = 64 * 1024  # bytes of an answer


class KeyUnavailable(SourceError):
    """The key cannot be had at the moment: the sender should try again."""


class _Answer(msgspec.Struct):
    signing_key: str


@dataclass(slots=True)
class _Known:
    key: str | None
    at: float


class SigningKeys:
    """Keys by their address. Whether an address may be asked at all is for the caller to know.

    Redirects are not followed. Whoever knows a token can make up addresses on the tenant's host, so
    questions have a limit of their own, apart from the request budget: ten at once, then six a
    minute, and one a minute for an address.
    """

    def __init__(
        self, http: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._http = http
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[str | None]] = {}
        self._allowance = float(_BURST)
        self._counted_at = clock()

    async def key(self, url: str, *, again: bool = False) -> str | None:
        """The key at this address; None if there is none.

        `again` asks anew, if that was not done within a minute: keys change. Raises KeyUnavailable.
        """
        known = self._known.get(url)
        if known is not None:
            age = self._clock() - known.at
            if age < (_AGAIN if again or known.key is None else _BELIEVED):
                return known.key
        if url not in self._asking:
            self._take_leave()
            task = asyncio.create_task(self._ask(url))
            self._asking[url] = task
            task.add_done_callback(lambda _: self._asking.pop(url, None))
        # One that leaves must not end the question of all who wait for it.
        return await asyncio.shield(self._asking[url])

    def _take_leave(self) -> None:
        now = self._clock()
        self._allowance = min(_BURST, self._allowance + (now - self._counted_at) / _EVERY)
        self._counted_at = now
        if self._allowance < 1:
            raise KeyUnavailable("too many keys were asked for in the last minute")
        self._allowance -= 1

    async def _ask(self, url: str) -> str | None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                status, body = await self._fetch(url)
        except (httpx.HTTPError, TimeoutError) as error:
            raise KeyUnavailable(f"no key could be asked for: {type(error).__name__}") from None
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise KeyUnavailable(f"the question for a key was answered with {status}")
        key = _key_in(body) if status == HTTPStatus.OK else None
        self._known.pop(url, None)  # so that the latest stand last
        self._known[url] = _Known(key, self._clock())
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return key

    async def _fetch(self, url: str) -> tuple[int, bytes]:
        async with self._http.stream("GET", url, follow_redirects=False) as answer:
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > _MOST:
                    return HTTPStatus.BAD_GATEWAY, b""
            return answer.status_code, body


def _key_in(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Answer).signing_key or None
    except msgspec.DecodeError:
        return None
