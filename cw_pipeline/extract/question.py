"""One request on the wire, and the body that comes back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import httpx
from isal import isal_zlib
from typing_extensions import override

from cw_pipeline.errors import SourceBroken

if TYPE_CHECKING:
    from collections.abc import Mapping

_GZIP_OR_ZLIB = 47
_GZIP = b"\x1f\x8b"
_LEAST, _MOST = 16 << 10, 64 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Question:
    """One request, as it will be sent. Shows without host and codebase, as people read it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    anonymous: bool = False

    @property
    def list(self) -> str:
        """What is asked, whichever part of it and below whichever parent."""
        return re.sub(r"\d+", "", self.url.partition("?")[0])

    @property
    def method(self) -> str:
        """GET, or POST when there is a body."""
        return "GET" if self.body is None else "POST"

    def at(self, base: str) -> Question:
        """This request below a base URL."""
        return replace(self, url=f"{base}{self.url}")

    @override
    def __str__(self) -> str:
        return f"{self.method} {self.url.split('/apis/3.0', 1)[-1]}"


def inflated(raw: bytes, headers: Mapping[str, str], question: Question) -> bytes:
    """The body as sent. By hand: httpx inflates piece by piece at four times the cost."""
    if headers.get("content-encoding", "identity") == "identity" or not raw:
        return raw
    try:
        return isal_zlib.decompress(raw, _GZIP_OR_ZLIB, _size(raw))
    except isal_zlib.error as error:  # type: ignore[misc] # its stub leaves the base out
        raise SourceBroken(f"{question}: a body that does not inflate ({error})", 200) from error


def _size(raw: bytes) -> int:
    """How large a body says it is: its buffer is doubled until it fits, if nothing says so.

    In a gzip's last four bytes (RFC 1952). Believed up to a point: it is the server's word.
    """
    said = int.from_bytes(raw[-4:], "little") if raw.startswith(_GZIP) else 0
    return min(max(said, _LEAST), _MOST)


def why(error: httpx.TransportError) -> str:
    """What went wrong on the way, and what to look at."""
    if isinstance(error, httpx.ConnectError):
        return f"cannot connect ({error}). Check CW_SITE, DNS and the firewall"
    return f"the connection broke ({str(error) or type(error).__name__})"


def text(body: bytes) -> str:
    """The beginning of a body, to show."""
    return body[:2000].decode("utf-8", "replace")
