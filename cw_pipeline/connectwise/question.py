"""One request on the wire, and the body that comes back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httpx
from typing_extensions import override

from cw_pipeline.connectwise.inflate import inflate_body
from cw_pipeline.connectwise.tls import handshake_fault
from cw_pipeline.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cw_pipeline.connectwise.query import Query


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it will be sent.

    As text it is what people read: without host and codebase, and not percent-encoded.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    anonymous: bool = False

    @classmethod
    def of(cls, query: Query) -> Request:
        """The request for what the query asks."""
        return cls(query.url(), query.headers(), query.body())

    @property
    def list(self) -> str:
        """What is asked, whichever part of it and below whichever parent."""
        return re.sub(r"\d+", "", self.url.partition("?")[0])

    @property
    def method(self) -> str:
        """GET, or POST when there is a body."""
        return "GET" if self.body is None else "POST"

    def at(self, base: str) -> Request:
        """This request below a base URL."""
        return replace(self, url=f"{base}{self.url}")

    @override
    def __str__(self) -> str:
        return f"{self.method} {unquote(self.url.split('/apis/3.0', 1)[-1])}"


def connection_errors(raw: bytes, headers: Mapping[str, str], question: Request) -> bytes:
    """What is in the body. Raises SourceBroken if it does not inflate."""
    if not raw or headers.get("content-encoding", "identity") == "identity":
        return raw
    try:
        return inflate_body(raw)
    except ValueError as error:
        raise SourceBroken(f"{question}: {error}", 200) from error


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
