"""Who asks: API keys, or keys made for a member by impersonation (guide, "Authentication")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from typing_extensions import override

from cw_pipeline.errors import ConfigError, SourceDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from cw_pipeline.extract.site import Credentials

_RENEWED_BEFORE = timedelta(minutes=5)


def basic(credentials: Credentials, public_key: str, private_key: str) -> httpx.BasicAuth:
    """The guide's Basic authorization: `company+publickey:privatekey`."""
    return httpx.BasicAuth(f"{credentials.company}+{public_key}", private_key)


class Impersonation(httpx.Auth):
    """Asks with keys made for a member, and makes new ones before they expire (after 4 hours).

    Raises SourceDenied if no keys are made.
    """

    requires_response_body = True

    def __init__(self, credentials: Credentials, base: Callable[[], str]) -> None:
        self._credentials = credentials
        self._base = base
        self._lock = Lock()
        self._keys: httpx.BasicAuth | None = None
        self._expires = datetime.min.replace(tzinfo=UTC)

    @override
    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Signs the request, with fresh keys when the old ones are about to expire."""
        with self._lock:  # many requests at once must not each make keys
            if self._keys is None or datetime.now(UTC) > self._expires - _RENEWED_BEFORE:
                self._take((yield self._asking(request)))
            keys = self._keys
        assert keys is not None
        yield from keys.sync_auth_flow(request)

    def _asking(self, request: httpx.Request) -> httpx.Request:
        own, member = self._credentials, self._credentials.impersonate
        asking = httpx.Request(
            "POST",
            f"{self._base()}/system/members/{member}/tokens",
            headers={
                "clientId": own.client_id,
                "x-cw-usertype": own.user_type,
                "Accept": request.headers["Accept"],
                "User-Agent": request.headers["User-Agent"],
            },
            json={"memberIdentifier": member},
        )
        return next(basic(own, own.public_key, own.private_key).sync_auth_flow(asking))

    def _take(self, response: httpx.Response) -> None:
        response.read()
        if not response.is_success:
            raise SourceDenied(
                f"{response.status_code}: no keys for member {self._credentials.impersonate!r}."
                " Check CW_IMPERSONATE, CW_USER_TYPE (member or integrator), and that"
                " CW_PUBLIC_KEY/CW_PRIVATE_KEY may use the Member API",
                response.status_code,
            )
        made: dict[str, Any] = msgspec.json.decode(response.content)
        self._keys = basic(self._credentials, made["publicKey"], made["privateKey"])
        self._expires = datetime.fromisoformat(made["expiration"]).astimezone(UTC)


def refuse_cookies(auth: str) -> None:
    """Raises ConfigError for anything but keys and impersonation, with the guide's own reason."""
    if auth not in ("keys", "impersonation"):
        raise ConfigError(
            f"CW_AUTH={auth!r} is not supported: the guide says that vendor integrations should"
            " ignore cookie authentication and use API Members instead, and that member hashes stop"
            " working where SAML is on. Use keys (the default) or impersonation"
        )
