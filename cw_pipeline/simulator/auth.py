"""Who may ask: API keys, and the temporary keys of impersonation."""

from __future__ import annotations

import base64
import binascii
import hmac
import random
import string
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from cw_pipeline.simulator.answers import Answer, Refusal, as_json, not_authenticated, refusal
from cw_pipeline.simulator.tenant import iso

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cw_pipeline.simulator.tenant import Tenant

_LIFE = timedelta(hours=4)
_CHARACTERS = string.ascii_letters + string.digits
_DICE = random.SystemRandom()


@dataclass(slots=True)
class Keys:
    """The keys that open this tenant. `temporary`: private key and expiration by public key."""

    company: str
    public: str
    private: str
    client_id: str
    temporary: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def check(self, headers: Mapping[str, str], now: datetime) -> str:
        """Whose request this is, as the public key. Raises Refusal (401)."""
        user, offered = _basic(headers)
        company, _, public = user.partition("+")
        private, expires = self.temporary.get(public, (None, now))
        if public == self.public:
            private, expires = self.private, now + _LIFE
        if private is None or not hmac.compare_digest(private.encode(), offered.encode()):
            raise Refusal(not_authenticated())
        if company.lower() != self.company.lower() or expires <= now:
            raise Refusal(not_authenticated())
        if headers.get("clientid", "").lower() != self.client_id.lower():
            raise Refusal(not_authenticated("A valid clientId header is required."))
        return public

    def impersonate(self, tenant: Tenant, identifier: str, headers: Mapping[str, str]) -> Answer:
        """Temporary keys for a member, good for four hours (POST …/members/{identifier}/tokens)."""
        if headers.get("x-cw-usertype") not in {"member", "integrator"}:
            return refusal(400, "InvalidObject", "x-cw-usertype is required.", "x-cw-usertype")
        members = tenant.records("/system/members").values()
        if members and not any(_has_identifier(each, identifier) for each in members):
            return refusal(404, "NotFound", f"Member {identifier} not found")
        public, private = (_key() for _ in range(2))
        expires = tenant.now() + _LIFE
        self.temporary[public] = (private, expires)
        body = {"publicKey": public, "privateKey": private, "expiration": iso(expires)}
        return as_json(body)


def _has_identifier(member: dict[str, object], identifier: str) -> bool:
    return str(member.get("identifier", "")).lower() == identifier.lower()


def _key() -> str:
    return "".join(_DICE.choices(_CHARACTERS, k=16))


def _basic(headers: Mapping[str, str]) -> tuple[str, str]:
    """User and password of the Authorization header. Raises Refusal (401)."""
    scheme, _, coded = headers.get("authorization", "").partition(" ")
    try:
        user, colon, password = base64.b64decode(coded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal(not_authenticated()) from None
    if scheme.lower() != "basic" or not colon:
        raise Refusal(not_authenticated())
    return user, password
