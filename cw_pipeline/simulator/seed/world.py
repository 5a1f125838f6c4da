"""The world a seeded tenant is made in: its dice, its calendar and what was made so far."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from typing_extensions import override

from cw_pipeline.simulator.collection import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.simulator.tenant import Tenant

T = TypeVar("T")
HOUR = 3600
DAY = 24 * HOUR
YEARS = 4
_SKEW = 1.7
"""How unevenly work is spread over companies; 1 would be evenly."""
BASE = "https://api-na.myconnectwise.net/v2025_1//apis/3.0"
_IDENTIFIED = {
    "country": "countryCode",
    "department": "identifier",
    "scheduleType": "identifier",
    "adjustmentType": "identifier",
}
"""The field that a kind of reference shows as its `identifier`."""
_NAMELESS = frozenset({"ticket", "invoice", "catalog", "scheduleType", "adjustmentType"})
"""Kinds of references that show something else than a `name`."""
_BARE = frozenset({"/company/contacts", "/time/entries", "/finance/agreements"})
"""Lists whose `_info` does not say when and by whom a record was entered."""
_encode = msgspec.json.Encoder().encode


class Ref(NamedTuple):
    """A reference to a record, as other records hold it."""

    id: int
    raw: msgspec.Raw
    name: str = ""


@dataclass(slots=True)
class Company:
    """A company and what belongs to it, for records that must agree with one another.

    A month's `labour` at cost and a month's `recurring` revenue; `agreed` is when its agreement
    begins and ends.
    """

    ref: Ref
    site: Ref
    contacts: list[Ref]
    identifier: str
    agreement: Ref | None = None
    billable: bool = True
    labour: float = 0.0
    recurring: float = 0.0
    agreed: tuple[int, int] = (0, 0)


class Ticket(NamedTuple):
    """What time, expenses, schedules and surveys need to know of a ticket."""

    id: int
    ref: Ref
    company: Company
    board: str
    status: str
    entered: int
    last: int
    project: Ref | None = None
    phase: Ref | None = None


class Dice(random.Random):
    """Python's, throw for throw, without its checks: a tenant takes a million and more."""

    def below(self, bound: int) -> int:
        """From 0 to `bound`, exclusive."""
        bits, throw = bound.bit_length(), self.getrandbits
        thrown = throw(bits)
        while thrown >= bound:
            thrown = throw(bits)
        return thrown

    @override
    def choice(self, seq: Sequence[T]) -> T:  # type: ignore[override] # nothing else is asked of
        return seq[self.below(len(seq))]

    @override
    def randint(self, a: int, b: int) -> int:
        return a + self.below(b - a + 1)


@dataclass(slots=True)
class World:
    """Everything makers share. `now` and all times are seconds since 1970, UTC."""

    tenant: Tenant
    dice: random.Random
    now: int
    tickets_wanted: int
    refs: dict[str, list[Ref]] = field(default_factory=dict)
    companies: list[Company] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)
    custom: dict[str, list[msgspec.Raw]] = field(default_factory=dict)
    holidays: set[str] = field(default_factory=set)
    by: list[str] = field(default_factory=lambda: ["zadmin", "trigger        "])
    _ids: dict[str, Iterator[int]] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """When this tenant began."""
        return self.now - YEARS * 365 * DAY

    def next_id(self, sequence: str, first: int = 1) -> int:
        """The next id of a sequence; one in forty leaves a gap, as deleted records do."""
        if sequence not in self._ids:
            self._ids[sequence] = _ids_with_gaps(random.Random(f"{sequence}{first}"), first)  # noqa: S311
        return next(self._ids[sequence])

    def any(self, path: str) -> Ref:
        """One of the references to the records of a list."""
        return self.dice.choice(self.refs[path])

    def raw(self, path: str) -> msgspec.Raw:
        """One of the references to the records of a list, ready to be put into a record."""
        return self.dice.choice(self.refs[path]).raw

    def chance(self, of: float) -> bool:
        """True so often: 0.25 is one time in four."""
        return self.dice.random() < of

    def company(self) -> Company:
        """One of the companies; a few have most of the work."""
        return self.companies[int(len(self.companies) * self.dice.random() ** _SKEW)]

    def share_of_work(self, at: int) -> float:
        """How much of all work is done for the company at this place."""
        count = len(self.companies)
        before, after = (float((each / count) ** (1 / _SKEW)) for each in (at, at + 1))
        return after - before

    def when(self, first: int | None = None, last: int | None = None) -> int:
        """A moment between; some share one second, as records of a bulk update do."""
        low, high = first or self.start, last or self.now
        at = self.dice.randint(low, max(low, high))
        return at - at % HOUR if at % 5 == 0 and at - at % HOUR >= low else at

    def put(
        self, path: str, record: dict[str, Any], entered: int | None, updated: int | None = None
    ) -> None:
        """Puts a record with its `_info`. Without `entered` it carries no stamps at all."""
        stamp = NEVER
        if entered is not None:
            stamp = min(max(updated or entered, entered), self.now)
            info = record.setdefault("_info", {})
            info["lastUpdated"] = iso(stamp)
            info["updatedBy"] = self.dice.choice(self.by)
            if path not in _BARE:
                info["dateEntered"] = iso(entered)
                info["enteredBy"] = self.by[0]
        held = {name: value for name, value in record.items() if value is not None}
        self.tenant.stored_collection(path).put_raw(record["id"], stamp, _encode(held))

    def refer(self, path: str, kind: str, record_id: int, name: str, **more: Any) -> Ref:  # noqa: ANN401
        """Makes a reference and keeps it among those of its list."""
        made = reference(path, kind, record_id, name, **more)
        self.refs.setdefault(path, []).append(made)
        return made

    def lookups(self, path: str, kind: str, rows: Sequence[dict[str, Any]]) -> None:
        """Fills a set-up list. Every row is referred to by its name."""
        for row in rows:
            record = {"id": self.next_id(path), **row}
            name = str(row.get("name") or row.get("description") or row.get("identifier") or "")
            shown = row.get(_IDENTIFIED.get(kind, ""))
            extra = {"identifier": shown} if shown else {}
            self.refer(path, kind, record["id"], name, **extra)
            self.put(path, record, self.start, self.start + self.dice.randrange(30 * DAY))


def reference(path: str, kind: str, record_id: int, name: str, **more: Any) -> Ref:  # noqa: ANN401
    """A reference as the API writes it, its link in `_info`."""
    info = {f"{kind}_href": f"{BASE}{path}/{record_id}", **more.pop("info", {})}
    named = {} if kind in _NAMELESS else {"name": name}
    value = {"id": record_id, **more, **named, "_info": info}
    return Ref(record_id, msgspec.Raw(_encode(value)), name)


def iso(seconds: int) -> str:
    """`2025-01-31T12:00:00Z`."""
    days, rest = divmod(seconds, DAY)
    return f"{_date(days)}T{_minute(rest // 60)}:{rest % 60:02}Z"


@cache
def _date(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(days * DAY))


@cache
def _minute(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def day(seconds: int) -> str:
    """The calendar day, as the API writes business dates: midnight."""
    return f"{_date(seconds // DAY)}T00:00:00Z"


def guid(dice: random.Random) -> str:
    """A random GUID."""
    text = f"{dice.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def money(dice: random.Random, low: float, high: float) -> float:
    """An amount in whole cents."""
    return round(dice.uniform(low, high), 2)


def _ids_with_gaps(dice: random.Random, first: int) -> Iterator[int]:
    at = first
    while True:
        yield at
        at += 1 if dice.random() > 1 / 40 else dice.randint(2, 12)
