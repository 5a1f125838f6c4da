"""What a callback's message means, and whether it is really the tenant's. Pure.

Rules of the guide's "Verifying the Callback Source". The message itself names the address of the
key that proves it, so that address is held against what the settings say before it is asked: on a
host that serves many customers, another customer's key would prove another customer's message.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

from cw_pipeline.connectwise import Site

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_PATH = "/system/callbackkey/index.rails"
"""How the path of a `key_url` ends."""

_PATH = re.compile(rf"(?:/[A-Za-z0-9_]*){{0,4}}{re.escape(KEY_PATH)}", re.IGNORECASE)
_PORTS = {"https": 443, "http": 80}


_Id = Annotated[int, msgspec.Meta(gt=0, lt=2**63 - 1)]


class _Metadata(msgspec.Struct):
    key_url: str


class Message(msgspec.Struct, rename="pascal"):
    """What is read of a callback's body; everything else in it is ignored."""

    action: Literal["added", "updated", "deleted"]
    type: str
    id: _Id = msgspec.field(name="ID")
    company_id: str = msgspec.field(name="CompanyId")
    metadata: _Metadata
    entity: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def stamp(self) -> datetime | None:
        """The record's `lastUpdated` as the message has it; None where it has none."""
        record = self._record
        try:
            stamp = record.info.last_updated if record and record.info else None
            return stamp.replace(tzinfo=stamp.tzinfo or UTC).astimezone(UTC) if stamp else None
        except OverflowError:
            return None

    @property
    def company(self) -> int | None:
        """The id of the company that the record says it belongs to; None where it says none."""
        record = self._record
        try:
            # By itself: a company of another shape must not cost the record its stamp.
            return msgspec.json.decode(record.company, type=_Company).id if record else None
        except (msgspec.DecodeError, RecursionError):
            return None

    @property
    def _record(self) -> _Entity | None:
        """What is read of the record inside, which is a text of JSON."""
        try:
            text = msgspec.json.decode(self.entity, type=str | None)
            return msgspec.json.decode(text or "{}", type=_Entity)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError, OverflowError):
            return None


class _CallbackInfo(msgspec.Struct, rename="camel"):
    last_updated: datetime | None = None


class _Company(msgspec.Struct):
    id: _Id


class _Entity(msgspec.Struct, rename={"info": "_info"}):
    info: _CallbackInfo | None = None
    company: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(Message).decode


def decode_message(body: bytes) -> Message | None:
    """The message, or None if this is no callback's body."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def signature(key: str, body: bytes) -> bytes:
    """The `x-content-signature` that a body must have: HMAC-SHA256 under the key's SHA-256."""
    secret = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
    return base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest())


def is_signed(key: str, body: bytes, header: bytes) -> bool:
    """Whether the header is the body's signature, compared in constant time."""
    return hmac.compare_digest(signature(key, body), header.strip())


@dataclass(frozen=True, slots=True)
class Listener:
    """One tenant, as its callbacks are recognized and kept.

    `wanted` are the types (small letters) that are kept as hints; None means all.
    """

    tenant: str
    company: str
    token: str
    origins: frozenset[tuple[str, str, int]]
    wanted: frozenset[str] | None = None

    @classmethod
    def of(
        cls, tenant: str, site: str, company: str, token: str, wanted: Iterable[str] | None = None
    ) -> Self:
        """The listener of a tenant whose CW_SITE and CW_COMPANY these are. Raises ConfigError."""
        api = urlsplit(Site.of(site).api)
        given = urlsplit(site if "://" in site else f"https://{site}")
        host = (given.hostname or "").lower()
        port = given.port or _PORTS[api.scheme]
        names = {host, host.removeprefix("api-")}
        origins = frozenset((api.scheme, name, port) for name in names)
        kept = None if wanted is None else frozenset(each.lower() for each in wanted)
        return cls(tenant, company, token, origins, kept)

    def owns(self, message: Message) -> bool:
        """Whether message and key are this tenant's own, as far as both say so themselves."""
        return self._is_company(message.company_id) and self.is_key_url(message.metadata.key_url)

    def is_key_url(self, url: str) -> bool:
        """Whether the address is one of the tenant's own keys, and nothing else.

        The scheme, host and port of CW_SITE; the vendor's path; our company. Without user,
        fragment, escapes in the path or characters that parsers read differently.
        """
        if not url.isascii() or not url.isprintable() or set(url) & set("\\ #@"):
            return False
        try:
            parts = urlsplit(url)
            origin = (parts.scheme, (parts.hostname or "").lower(), parts.port)
            query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True)
        except ValueError:
            return False
        scheme, host, port = origin
        if (scheme, host, port or _PORTS.get(scheme, 0)) not in self.origins:
            return False
        names = [each for name in query if name.lower() == "companyname" for each in query[name]]
        is_ours = len(names) == 1 and self._is_company(names[0])
        return is_ours and _PATH.fullmatch(parts.path) is not None

    def wants(self, message: Message) -> bool:
        """Whether records of this type are synced."""
        return self.wanted is None or message.type.lower() in self.wanted

    def _is_company(self, name: str) -> bool:
        return name.casefold() == self.company.casefold()


def token_of(path: str) -> str:
    """The token in a path `/callbacks/{token}`.

    ConnectWise writes the record's id behind whatever address was registered, so the token ends at
    the first `&` too: the guide's own example has no `?`.
    """
    return re.split(r"[&/?]", path.removeprefix("/callbacks/"), maxsplit=1)[0]
