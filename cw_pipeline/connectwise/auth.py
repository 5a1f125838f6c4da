"""Who asks: API keys, or keys made for a member by impersonation (guide, "Authentication")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING

import httpx
import msgspec
from typing_extensions import override

from cw_pipeline.connectwise.response import http_date, raise_for_status
from cw_pipeline.errors import SourceBroken, SourceBusy, SourceDenied, SourceError
from cw_pipeline.machine import THIS, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from cw_pipeline.connectwise.site import Credentials

_RENEWED_BEFORE = timedelta(minutes=5)


def _basic(credentials: Credentials, public_key: str, private_key: str) -> httpx.BasicAuth:
    """The guide's Basic authorization: `company+publickey:privatekey`."""
    return httpx.BasicAuth(f"{credentials.company}+{public_key}", private_key)


class _MemberKeys(msgspec.Struct, rename="camel"):
    """The answer to a question for keys."""

    public_key: str
    private_key: str
    expiration: datetime


class Impersonation(httpx.Auth):
    """Asks with keys made for a member, and makes new ones before they expire (after 4 hours).

    Keys that are refused all the same are made anew once. Raises SourceDenied if no keys are made,
    and what any question raises when ConnectWise is busy or down.
    """

    def __init__(
        self, credentials: Credentials, base: Callable[[], str], machine: Machine = THIS
    ) -> None:
        self._machine = machine
        self._credentials = credentials
        self._base = base
        self._lock = Lock()
        self._keys = _basic(credentials, "", "")  # none yet: the time to renew them has come
        self._renew_at = float("-inf")

    @override
    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Signs the request, with fresh keys when the old ones are about to expire."""
        with self._lock:  # many requests at once must not each make keys
            if self._machine.monotonic() > self._renew_at:
                self._take((yield self._asking(request)))
            keys = self._keys
        response = yield next(keys.sync_auth_flow(request))
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            return
        with self._lock:
            if keys is self._keys:
                self._take((yield self._asking(request)))
            keys = self._keys
        yield next(keys.sync_auth_flow(request))

    def _asking(self, request: httpx.Request) -> httpx.Request:
        credentials, member = self._credentials, self._credentials.impersonate
        asking = httpx.Request(
            "POST",
            f"{self._base()}/system/members/{member}/tokens",
            headers={
                "clientId": credentials.client_id,
                "x-cw-usertype": credentials.user_type,
                "Accept": request.headers["Accept"],
                "User-Agent": request.headers["User-Agent"],
            },
            json={"memberIdentifier": member},
        )
        return next(
            _basic(credentials, credentials.public_key, credentials.private_key).sync_auth_flow(
                asking
            )
        )

    def _take(self, response: httpx.Response) -> None:
        body, asked = (
            response.read(),
            f"POST /system/members/{self._credentials.impersonate}/tokens",
        )
        try:
            raise_for_status(response.status_code, response.headers, body, asked)
            made = msgspec.json.decode(body, type=_MemberKeys)
        except (SourceBusy, SourceBroken):
            raise
        except msgspec.DecodeError as error:
            raise SourceBroken(f"{asked}: {error}", response.status_code) from error
        except SourceError as error:
            raise SourceDenied(
                f"{response.status_code}: no keys for member {self._credentials.impersonate!r}."
                " Check CW_IMPERSONATE, CW_USER_TYPE (member or integrator), and that"
                " CW_PUBLIC_KEY/CW_PRIVATE_KEY may use the Member API",
                response.status_code,
            ) from error
        self._keys = _basic(self._credentials, made.public_key, made.private_key)
        # By the server's own clock: ours may be off by more than what is kept in hand.
        now = http_date(response.headers.get("date", "")) or self._machine.now()
        left = made.expiration.astimezone(UTC) - now - _RENEWED_BEFORE
        self._renew_at = self._machine.monotonic() + left.total_seconds()
