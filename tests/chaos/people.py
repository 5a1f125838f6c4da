"""What a tenant's people do to its records, as the dice will have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator import UNSTAMPED
from tests.chaos.truth import UNKNOWN, spoilt

if TYPE_CHECKING:
    import random
    from datetime import datetime

    from cw_pipeline.simulator import Tenant

TICKETS = "/service/tickets"
AGREEMENTS = "/finance/agreements"
CODES = "/service/codes"
LATEST = 300
"""Seconds that a commit may come late."""

Key = tuple[str, int]
_USUAL_TEXTS = ("plain", "ümläut 🙂", "", "x" * 300)
_TEXTS = ("plain", "a\0nul", "ümläut 🙂", "", 'quote " and \\', "x" * 300)
_TYPED = {TICKETS: "budgetHours", AGREEMENTS: "billAmount", CODES: "name"}
_CHILDS = "quantity"


@dataclass
class People:
    """They create, edit, delete and restore. `silent` and `restored` are what no stamp betrays.

    Nor are `misdated` ones seen: the tenant's clock was back for a while that nobody read in.
    `ahead` is by how much that clock is ahead, `changed_at` when a record changed in fact. `odd` is
    the share of records whose texts no compiled reader takes: Python's way is slow to begin. `used`
    are the lists that they work with, and those below them.
    """

    tenant: Tenant
    dice: random.Random
    odd: float = 1.0
    used: tuple[str, ...] = (TICKETS, AGREEMENTS, CODES)
    silent: set[Key] = field(default_factory=set)
    restored: set[Key] = field(default_factory=set)
    misdated: set[Key] = field(default_factory=set)
    ahead: timedelta = timedelta()
    changed_at: dict[Key, datetime] = field(default_factory=dict)
    gone: dict[Key, dict[str, Any]] = field(default_factory=dict)
    next_id: int = 1
    _busy_until: dict[Key, datetime] = field(default_factory=dict)
    _stamped: dict[Key, timedelta] = field(default_factory=dict)

    def create(self, *, late: bool = False) -> None:
        """A new record somewhere."""
        path = self._any_list()
        own, self.next_id = self.next_id, self.next_id + self.dice.choice((1, 1, 1, 7, 200))
        self._put(path, {"id": own, **self._fields(path)}, self._delay(late=late))

    def edit(self, *, late: bool = False) -> None:
        """A record changes, and its stamp with it."""
        if (chosen := self.any_record()) is not None:
            path, own = chosen
            record = {**self.tenant.get(path, own), **self._fields(path)}
            self._put(path, record, self._delay(late=late))
            if not late:
                self._seen_again(chosen)

    def edit_silently(self) -> None:
        """A record changes without its stamp, as calculated fields do."""
        if (chosen := self.any_record()) is not None:
            self.tenant.edit(*chosen, touch=False, **self._fields(chosen[0]))
            self.silent.add(chosen)

    def delete(self) -> None:
        """A record goes."""
        if (chosen := self.any_record()) is not None:
            self.gone[chosen] = self.tenant.delete(*chosen)

    def restore(self) -> None:
        """A deleted record comes back as it was, old stamp and all."""
        back = [key for key in self.gone if key[0] in self.lists()]
        if back:
            path, own = chosen = self.dice.choice(back)
            record = self.gone.pop(chosen)
            stamp = record.get("_info", {}).get("lastUpdated", UNSTAMPED)
            self.tenant.put(path, record, stamp=stamp)
            self.restored.add((path, own))

    def spoil(self) -> None:
        """Somebody enters what does not fit its field."""
        if (chosen := self.any_record()) is not None:
            self._set(chosen, {"spoilt": True})

    def mend(self) -> bool:
        """Whatever does not fit is put right: whether there was any."""
        bad = [
            (path, own)
            for path in self.lists()
            for own, record in self.tenant.records(path).items()
            if spoilt(record)
        ]
        for key in bad:
            self._set(key, None)
        return bool(bad)

    def set_clock(self, seconds: float) -> None:
        """The tenant's clock is set, so many seconds ahead of what it is: stamps follow it."""
        step = timedelta(seconds=seconds) - self.ahead
        unseen = min(timedelta(), self.ahead + step)
        self.misdated |= {key for key, ahead in self._stamped.items() if ahead < unseen}
        self.tenant.set_clock(step.total_seconds())
        self.ahead += step
        self._busy_until = {key: at + step for key, at in self._busy_until.items()}

    def lists(self) -> list[str]:
        """Every list that can be asked for."""
        agreements = self.tenant.records(AGREEMENTS)
        children = [f"{AGREEMENTS}/{own}/additions" for own in agreements]
        return [*(path for path in (TICKETS, AGREEMENTS, CODES) if path in self.used), *children]

    def any_record(self) -> Key | None:
        """A record that nobody is about to commit; None if there is none."""
        now = self.tenant.now()
        self._busy_until = {key: at for key, at in self._busy_until.items() if at > now}
        path = self._any_list()
        ids = [own for own in self.tenant.records(path) if (path, own) not in self._busy_until]
        return (path, self.dice.choice(ids)) if ids else None

    def some_ids(self, most: int) -> set[int]:
        """A few ids, of whatever list."""
        chosen = [self.any_record() for _ in range(self.dice.randrange(1, most + 1))]
        return {record[1] for record in chosen if record is not None} or {1}

    def _set(self, chosen: Key, value: Any) -> None:
        path, own = chosen
        record = {**self.tenant.get(path, own), _TYPED.get(path, _CHILDS): value}
        self._put(path, record, 0)
        self._seen_again(chosen)

    def _seen_again(self, chosen: Key) -> None:
        self.silent.discard(chosen)
        self.restored.discard(chosen)

    def _any_list(self) -> str:
        first, *others = self.lists()
        return self.dice.choice([first] * 6 + others)

    def _delay(self, *, late: bool) -> int:
        return self.dice.randrange(1, LATEST) if late else 0

    def _put(self, path: str, record: dict[str, Any], delay: int) -> None:
        if delay:
            until = self.tenant.now() + timedelta(seconds=delay + 1)
            self._busy_until[path, record["id"]] = until
        key = (path, record["id"])
        self.changed_at[key] = self.tenant.now() - self.ahead
        self._stamped[key] = self.ahead
        self.misdated.discard(key)
        stamp = UNSTAMPED if path == CODES else None
        self.tenant.put(path, record, stamp=stamp, visible_after=delay)

    def _fields(self, path: str) -> dict[str, Any]:
        dice = self.dice
        is_odd = self.odd >= 1 or dice.random() < self.odd
        text = dice.choice(_TEXTS if is_odd else _USUAL_TEXTS)
        said = f"{text} {dice.randrange(1000)}"
        extra = dice.choice((None, "bright", {"deep": [1, None, "a\0b"]}, 7)) if is_odd else None
        amount = dice.choice((None, 0, 0.1, 12.25, 123456789.125))
        if path == TICKETS:
            return {
                "summary": said,
                "budgetHours": amount,
                "board": dice.choice((None, {}, {"id": 7, "name": text})),
                "requiredDate": dice.choice((None, "2025-03-01T00:00:00Z", "2025-03-01")),
                "closedFlag": dice.choice((None, True, False)),
                "customFields": [
                    {
                        "id": at,
                        "caption": text,
                        "type": "Text",
                        "value": dice.choice((None, 1, text)),
                    }
                    for at in range(dice.randrange(4))
                ],
                UNKNOWN: extra,
            }
        if path == CODES:
            return {"name": said, "description": text, UNKNOWN: extra}
        if path == AGREEMENTS:
            return {"name": said, "billAmount": amount}
        return {"description": said, "quantity": amount, UNKNOWN: extra}
