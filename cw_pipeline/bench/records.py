"""Service tickets to measure with: the simulator's, topped up, each made a million times over.

`DISTINCT` different tickets are made; record n is one of them with its own id, number in the
summary and stamp put in as bytes, so that a million cost seconds to make. Fields come in the order
in which the vendor lists them.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

from cw_pipeline.catalog import CATALOG
from cw_pipeline.simulator import seed_tenant

FIRST = 1001
"""The lowest id; the others follow without a gap."""

DISTINCT = 20_000
_SEEDED = 2_000
_ID = 987_654_321
_STAMP = "1999-12-31T23:59:59Z"
_BORN = 1_577_836_800  # 2020; every base stamp lies in the five years after it
SPAN = 5 * 365 * 86_400
STEP = 7919  # a prime, so that neighbours' stamps lie far apart
_KINDS = (
    ("Story Points", "Number", "EntryField"),
    ("Root Cause", "Text", "List"),
    ("Alert", "Text", "EntryField"),
    ("VIP", "Checkbox", "EntryField"),
    ("Warranty End", "Date", "EntryField"),
)
_CAUSES = ("User error", "Hardware", "Vendor", "Unknown")
_REFERENCES = ("item", "subType", "team", "owner", "agreement", "opportunity", "workRole")


class Records:
    """Ticket number `at` (from 0) as JSON. The same for every run and every machine."""

    def __init__(self, distinct: int = DISTINCT) -> None:
        self._made = list(_templates(distinct, odd=False))
        self._odd: list[bytes] = []
        self._distinct = distinct

    def raw(self, at: int, *, odd: bool = False, changed: float | None = None) -> bytes:
        """The record's JSON.

        `odd`: with nulls in place of what is absent, a field that the catalog does not know, a
        whole number written with a point, or an offset in place of the Z. `changed`: its
        `lastUpdated`, in seconds since 1970, and another summary.
        """
        record_id = b"%d" % (FIRST + at)
        word = b"%s%d" % (b"" if changed is None else b"again ", FIRST + at)
        stamp = iso(stamp_of(at) if changed is None else changed)
        return self._templates(odd=odd)[at % self._distinct] % (record_id, word, stamp)

    def slim(self, at: int, changed: float | None = None) -> bytes:
        """The record as a sweep asks for it: id and stamp."""
        stamp = iso(stamp_of(at) if changed is None else changed)
        return b'{"id":%d,"_info":{"lastUpdated":"%b"}}' % (FIRST + at, stamp)

    def _templates(self, *, odd: bool) -> list[bytes]:
        if not odd:
            return self._made
        if not self._odd:
            self._odd = list(_templates(self._distinct, odd=True))
        return self._odd


def stamp_of(at: int) -> int:
    """When a record was last updated, in seconds since 1970, as long as nobody changes it."""
    return _BORN + at * STEP % SPAN


def iso(seconds: float) -> bytes:
    """`2025-01-31T12:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)).encode()


def _templates(distinct: int, *, odd: bool) -> list[bytes]:
    dice = random.Random(7)  # noqa: S311 - the same tickets every time
    tenant = seed_tenant(tickets=min(distinct, _SEEDED))
    seeded = list(tenant.records("/service/tickets").values())
    order = [column.path[0] for column in CATALOG["service/tickets"].columns]
    made = []
    for at in range(distinct):
        ticket = _ticket(seeded[at % len(seeded)], dice)
        if odd:
            ticket = _odd(ticket, at)
        ticket = {key: ticket[key] for key in dict.fromkeys([*order, *ticket]) if key in ticket}
        text = json.dumps(ticket, separators=(",", ":"), ensure_ascii=False)
        text = text.replace("%", "%%").replace(f'"id":{_ID},', '"id":%b,', 1)
        made.append(text.replace(f"#{_ID}", "#%b", 1).replace(_STAMP, "%b", 1).encode())
    return made


def _ticket(seeded: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """A simulated ticket with more of its fields filled, and amounts and texts of its own."""
    info = {k: v for k, v in seeded["_info"].items() if not k.endswith("_href")}
    cents = [dice.randrange(100_000) / 100 for _ in range(6)]
    kept = {k: v for k, v in seeded.items() if not k.endswith("GoalUTC")}
    return kept | {
        "id": _ID,
        "summary": f"#{_ID} {seeded['summary']}",
        "addressLine1": f"{dice.randint(1, 9999)} Village Ave.",
        "addressLine2": f"Suite {dice.randint(1, 900)}",
        "stateIdentifier": dice.choice(("FL", "OH", "BC", "IL")),
        "zip": str(dice.randint(10_000, 99_999)),
        "contactPhoneNumber": str(dice.randint(2_000_000_000, 9_999_999_999)),
        "externalXRef": f"XREF-{dice.randrange(10**8)}",
        "poNumber": f"PO-{dice.randrange(10**6)}",
        "hourlyRate": dice.choice((95.0, 120.0, 150.0, 185.5)),
        "billingAmount": cents[0],
        "subBillingAmount": cents[1],
        "estimatedProductCost": cents[2],
        "estimatedProductRevenue": cents[3],
        "estimatedTimeCost": cents[4],
        "estimatedTimeRevenue": cents[5],
        "lagDays": 0,
        "lagNonworkingDaysFlag": False,
        "predecessorClosedFlag": False,
        "duration": dice.randrange(90),
        "mobileGuid": f"{dice.getrandbits(32):08x}-0000-4000-8000-{dice.getrandbits(48):012x}",
        "customFields": [_custom(at, dice) for at in range(len(_KINDS))],
        "_info": info | {"lastUpdated": _STAMP},
    }


def _custom(at: int, dice: random.Random) -> dict[str, Any]:
    caption, kind, method = _KINDS[at]
    values = (
        dice.randint(1, 13),
        dice.choice(_CAUSES),
        str(dice.randrange(10**9)),
        dice.random() < 0.1,  # noqa: PLR2004 - one in ten
        iso(_BORN + dice.randrange(SPAN)).decode(),
    )
    field = {
        "id": at + 11,
        "caption": caption,
        "type": kind,
        "entryMethod": method,
        "numberOfDecimals": 0,
    }
    return field | {"value": values[at]} if dice.random() < 0.8 else field  # noqa: PLR2004


def _odd(ticket: dict[str, Any], at: int) -> dict[str, Any]:
    """The ticket in one of four forms that are allowed, and seldom sent."""
    match at % 4:
        case 0:
            nulls = {"item": None, "knowledgeBaseLinkId": None}
            return dict.fromkeys(_REFERENCES) | ticket | nulls
        case 1:
            return ticket | {"benchField": {"text": f"unheard of {at}", "number": at}}
        case 2:
            return ticket | {"duration": float(ticket["duration"])}
        case _:
            entered = ticket["_info"]["dateEntered"].replace("Z", "+00:00")
            return ticket | {"_info": ticket["_info"] | {"dateEntered": entered}}
