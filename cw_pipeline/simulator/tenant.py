"""A tenant: the records ConnectWise would hold, and its clock. The truth a test compares with."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cw_pipeline.machine import THIS, Machine
from cw_pipeline.simulator.collection import Collection

if TYPE_CHECKING:
    from collections.abc import Callable

_PLACE = re.compile(r"(?<=/)(?:\{[^}]*\}|\d+)(?=/|$)")
_PATHS = 10_000
"""How many paths are remembered: a list's is asked for with each of its records."""
UNSTAMPED = ""
"""`put(..., stamp=UNSTAMPED)`: the record carries no `_info.lastUpdated`."""


@lru_cache(_PATHS)
def canonical(path: str) -> str:
    """Paths are the same whatever their case and trailing slash."""
    return "/" + path.strip("/").lower()


def iso(moment: datetime) -> str:
    """`2025-01-31T12:00:00Z`, the only form the API answers with."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(_PATHS)
def template(path: str) -> str:
    """`/service/boards/3/statuses` and `/service/boards/{parentId}/statuses` are one list."""
    return _PLACE.sub("{}", canonical(path))


_TABLES = {
    "/service/tickets": "tickets",
    "/project/tickets": "tickets",
    "/service/tickets/{}/notes": "ticket notes",
    "/project/tickets/{}/notes": "ticket notes",
    "/service/tickets/{}/tasks": "ticket tasks",
    "/project/tickets/{}/tasks": "ticket tasks",
}
"""Lists that are views of one table of ConnectWise: no two of their records have the same id."""
_DOCUMENTS = "/system/documents/"
"""Below it one table, too, whatever kind of record a document belongs to."""


@lru_cache(_PATHS)
def _table(path: str) -> str:
    """What records of the list share their ids with: at least the same list of other parents."""
    like = template(path)
    return _DOCUMENTS if like.startswith(_DOCUMENTS) else _TABLES.get(like, like)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one record: `action` is added, updated or deleted."""

    action: str
    path: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Pending:
    due: datetime
    path: str
    record: dict[str, Any]


class Tenant:
    """Lists of records by path. Child lists are named with the parent's id in the path.

    Safe to change while a simulator serves it. `start` sets the clock; it runs on from there, as
    the machine's does.
    """

    def __init__(self, start: datetime | None = None, machine: Machine = THIS) -> None:
        self._machine = machine
        self.lock = threading.RLock()
        self.watchers: list[Callable[[Change], None]] = []
        self._collections: dict[str, Collection] = {}
        self._by_template: dict[str, dict[str, Collection]] = {}
        self._pending: list[_Pending] = []
        self._by_table: dict[str, list[Collection]] = {}
        self._last_ids: dict[str, int] = {}
        self._shift = start - machine.now() if start else timedelta()

    def now(self) -> datetime:
        """The tenant's time, UTC, in whole seconds."""
        return (self._machine.now() + self._shift).replace(microsecond=0)

    def advance(self, seconds: float) -> None:
        """Moves the clock on."""
        self._shift += timedelta(seconds=seconds)

    def set_clock(self, seconds: float) -> None:
        """Sets the clock, forward or back: no time passes, so late commits come when they would."""
        with self.lock:
            self._settle()
            step = timedelta(seconds=seconds)
            self._shift += step
            self._pending = [replace(each, due=each.due + step) for each in self._pending]

    def put(
        self,
        path: str,
        record: dict[str, Any],
        *,
        stamp: datetime | str | None = None,
        visible_after: float = 0,
    ) -> dict[str, Any]:
        """Adds or replaces a record, stamped now unless `stamp` says otherwise.

        Without `id` it gets the next one of its table, which service and project tickets share.
        `visible_after` is a late commit: stamped now, but nobody sees it for that many seconds.
        """
        with self.lock:
            made = {"id": record["id"] if "id" in record else self._next_id(path), **record}
            made["_info"] = _info_with_date(record.get("_info") or {}, stamp, self.now())
            if not made["_info"]:
                del made["_info"]
            if visible_after:
                due = self.now() + timedelta(seconds=visible_after)
                self._pending.append(_Pending(due, path, made))
            else:
                self._commit(path, made)
            return made

    def edit(
        self,
        path: str,
        record_id: int,
        *,
        touch: bool = True,
        visible_after: float = 0,
        **fields: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """Changes fields (None: takes away). `touch=False` keeps lastUpdated. Raises KeyError."""
        with self.lock:
            old = self.get(path, record_id)
            gone = {name for name, value in fields.items() if value is None}
            new = {name: value for name, value in {**old, **fields}.items() if name not in gone}
            stamp = None if touch else old.get("_info", {}).get("lastUpdated", UNSTAMPED)
            return self.put(path, new, stamp=stamp, visible_after=visible_after)

    def delete(self, path: str, record_id: int) -> dict[str, Any]:
        """Takes a record away and returns it. Raises KeyError."""
        with self.lock:
            record = self.collection(path).delete(record_id)
            self._tell(Change("deleted", canonical(path), record))
            return record

    def hide(self, path: str, record_id: int, until: datetime) -> None:
        """The record, as it is, is in no answer before `until`. Raises KeyError."""
        with self.lock:
            self._pending.append(_Pending(until, path, self.collection(path).delete(record_id)))

    def get(self, path: str, record_id: int) -> dict[str, Any]:
        """A copy of one record. Raises KeyError."""
        with self.lock:
            return self.collection(path).get(record_id)

    def records(self, path: str) -> dict[int, dict[str, Any]]:
        """A copy of every record of a list, by id."""
        with self.lock:
            return {record["id"]: record for record in self.collection(path)}

    def paths(self) -> list[str]:
        """Every list that holds, or ever held, a record."""
        with self.lock:
            return [each.path for each in self._collections.values()]

    def children(self, path: str) -> list[Collection]:
        """The lists of every parent, for a child path such as `/service/tickets/{id}/notes`."""
        self._settle()
        return list(self._by_template.get(template(path), {}).values())

    def collection(self, path: str) -> Collection:
        """The list itself, for who answers questions; hold `lock` while reading it."""
        self._settle()
        found = self._collections.get(canonical(path))
        return Collection(path) if found is None else found

    def stored_collection(self, path: str) -> Collection:
        """The list itself, for who fills it; made if there is none yet."""
        key = canonical(path)
        if key not in self._collections:
            made = self._collections[key] = Collection(path)
            self._by_template.setdefault(template(path), {})[key] = made
            self._by_table.setdefault(_table(path), []).append(made)
        return self._collections[key]

    def has(self, path: str) -> bool:
        """Whether this list was ever written to."""
        return canonical(path) in self._collections

    def has_like(self, path: str) -> bool:
        """Whether this list, or the same list of another parent, was ever written to."""
        return template(path) in self._by_template

    def _next_id(self, path: str) -> int:
        """An id that no record of the list's table has, had, or will have by a late commit."""
        table = _table(path)
        had = [self._last_ids.get(table, 0)]
        had += [each.last_id for each in self._by_table.get(table, ())]
        had += [each.record["id"] for each in self._pending if _table(each.path) == table]
        self._last_ids[table] = max(had) + 1
        return self._last_ids[table]

    def _settle(self) -> None:
        """Commits the late commits that are due."""
        if not self._pending:
            return
        due = [each for each in self._pending if each.due <= self.now()]
        self._pending = [each for each in self._pending if each.due > self.now()]
        for each in due:
            self._commit(each.path, each.record)

    def _commit(self, path: str, record: dict[str, Any]) -> None:
        collection = self.stored_collection(path)
        action = "updated" if record["id"] in collection else "added"
        collection.put(record)
        self._tell(Change(action, canonical(path), record))

    def _tell(self, change: Change) -> None:
        for watcher in self.watchers:
            watcher(change)


def _info_with_date(
    info: dict[str, Any], stamp: datetime | str | None, now: datetime
) -> dict[str, Any]:
    kept = {name: value for name, value in info.items() if name != "lastUpdated"}
    if stamp == UNSTAMPED:
        return kept
    text = stamp if isinstance(stamp, str) else iso(stamp or now)
    return {"lastUpdated": text, "updatedBy": "zadmin", **kept}
