"""Which callbacks a tenant has to have, and what makes it so.

The address is `CW_CALLBACK_URL/callbacks/{token}?recordId=`: ConnectWise writes the record's id
behind it. Only registrations whose address begins so are ours; others are never touched.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from typing_extensions import override

from cw_pipeline import composition
from cw_pipeline.catalog.callbacks import callback_types
from cw_pipeline.connectwise import Site, decode_small
from cw_pipeline.errors import ConfigError, SourceBroken, SourceForbidden

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cw_pipeline.connectwise import ConnectWise
    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings

_PATH = "/system/callbacks"
_RIGHT = (
    "the API member may not do this. What role it takes is not documented; vendors ask for System >"
    " Table Setup, Add, Edit, Delete and Inquire: All, with Manage Hosted API"
)


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration of ours, as ConnectWise has it."""

    id: int
    type: str
    level: str
    url: str
    is_active: bool

    def is_right(self, url: str) -> bool:
        """Whether it sends all records of its type to this address."""
        return self.is_active and self.url == url


@dataclass(frozen=True, slots=True)
class Step:
    """What has to be done: add, repair or remove. `id` of a registration that is there."""

    action: str
    type: str
    why: str
    id: int | None = None

    @override
    def __str__(self) -> str:
        return f"{self.action} {self.type}"


def callback_token(settings: Settings) -> str:
    """What tells this tenant's callbacks apart, and cannot be guessed.

    It follows from the clientId, so there is nothing to keep, and new API keys do not change it.
    Whoever learns it can send nothing that counts: messages are signed.
    """
    secret = settings.client_id.get_secret_value() if settings.client_id else ""
    about = f"callbacks of {composition.tenant(settings)} for {settings.schema_}"
    return hmac.new(secret.encode(), about.encode(), hashlib.sha256).hexdigest()[:32]


def callback_prefix(settings: Settings) -> str:
    """How the addresses of all our registrations begin. Raises ConfigError."""
    url = (settings.callback_url or "").rstrip("/")
    if not url:
        raise ConfigError(
            "CW_CALLBACK_URL is not set: the public address at which ConnectWise reaches `live`,"
            " such as https://hooks.example.com"
        )
    try:
        Site.of(url)
    except ConfigError:
        raise ConfigError(
            "CW_CALLBACK_URL is no address that ConnectWise can send to. It begins with https://"
            " and has a host, such as https://hooks.example.com"
        ) from None
    if "://" not in url or urlsplit(url).query or urlsplit(url).fragment:
        raise ConfigError(
            "CW_CALLBACK_URL has to begin with https:// and to have neither ? nor #, such as"
            " https://hooks.example.com"
        )
    return f"{url}/callbacks/"


def callback_url(settings: Settings) -> str:
    """The address to register, behind which ConnectWise writes a record's id."""
    return f"{callback_prefix(settings)}{callback_token(settings)}?recordId="


def registrations(source: ConnectWise, settings: Settings) -> list[Registration]:
    """Those that are ours. Raises SourceForbidden with the right that it may take."""
    prefix = callback_prefix(settings)
    condition = quote(f'url contains "{urlsplit(prefix).hostname}"')
    try:
        found = source.get(f"{_PATH}?pageSize=1000&conditions={condition}", _records)
    except SourceForbidden as error:
        raise SourceForbidden(f"{error}: {_RIGHT}", 403) from error
    return [each for each in found if each.url.startswith(prefix)]


def plan(present: Sequence[Registration], types: Iterable[str], url: str) -> list[Step]:
    """What it takes to have one right registration of each type, and no other of ours."""
    steps: list[Step] = []
    left = sorted(present, key=lambda each: (not each.is_right(url), each.id))
    for name in sorted(types):
        same = [e for e in left if e.type.lower() == name.lower() and e.level.lower() == "owner"]
        left = [each for each in left if not same or each.id != same[0].id]
        if not same:
            steps.append(Step("add", name, "there is none"))
        elif not same[0].is_active:
            why = "ConnectWise has switched it off, as it does after three days of failures"
            steps.append(Step("repair", name, why, same[0].id))
        elif same[0].url != url:
            steps.append(Step("repair", name, "it has an old address", same[0].id))
    return steps + [Step("remove", each.type, "nothing needs it", each.id) for each in left]


def steps_to_do(source: ConnectWise, settings: Settings, entities: Iterable[Entity]) -> list[Step]:
    """What it takes for all that these entities need to be registered. Raises as the others do."""
    types = callback_types(entity.name for entity in entities)
    return plan(registrations(source, settings), types, callback_url(settings))


def carry_out(source: ConnectWise, step: Step, url: str) -> None:
    """Does one step. Raises SourceForbidden with the right that it may take."""
    try:
        if step.action == "add":
            source.write("POST", _PATH, _entry(step.type, url))
        elif step.action == "repair":
            changes = {"url": url, "inactiveFlag": False}
            patch = [{"op": "replace", "path": k, "value": v} for k, v in changes.items()]
            source.write("PATCH", f"{_PATH}/{step.id}", patch)
        else:
            source.write("DELETE", f"{_PATH}/{step.id}")
    except SourceForbidden as error:
        raise SourceForbidden(f"{error}: {_RIGHT}", 403) from error


def _entry(name: str, url: str) -> dict[str, Any]:
    return {
        "description": f"cw_pipeline: {name}",
        "url": url,
        "objectId": 1,
        "type": name,
        "level": "Owner",
        "payloadVersion": "3.0.0",
        "inactiveFlag": False,
        "isSelfSuppressedFlag": False,
    }


def _records(body: bytes) -> list[Registration]:
    found = decode_small(body)
    if not isinstance(found, list):
        raise SourceBroken("the list of callbacks is no list", 200)
    return [
        Registration(
            int(each["id"]),
            str(each.get("type", "")),
            str(each.get("level", "")),
            str(each.get("url", "")),
            not each.get("inactiveFlag"),
        )
        for each in found
    ]
