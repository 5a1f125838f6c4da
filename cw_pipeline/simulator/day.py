"""A working day: what people do to a tenant between two looks at it."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.saving import STAGES, stage_reached
from cw_pipeline.simulator.tenant import iso

if TYPE_CHECKING:
    from cw_pipeline.simulator.tenant import Tenant

TICKETS = "/service/tickets"
TIME = "/time/entries"
_TOUCHED = {
    "/company/companies": "userDefinedField1",
    "/company/contacts": "title",
    "/company/configurations": "notes",
    "/project/tickets": "summary",
    "/project/projects": "description",
    "/sales/opportunities": "notes",
    "/finance/agreements": "customerPO",
    "/finance/agreements/{}/additions": "serialNumber",
    "/finance/invoices": "reference",
}
"""The text that somebody changes in one record of a hundred."""
_STEPS = 20
_FEW = 10  # tickets that move in a day, so that a small tenant has something to show
_MANY = 0.02  # of the tickets, but no more
_A_DAY = 0.003  # a third of these come in: in four years of working days, all tickets
_RECENT = 1000  # tickets among which the open ones are, but for a few
_SEVERITIES = ("Low", "Medium", "High")
_GOALS = ("respondByGoalUTC", "resplanGoalUTC", "resolutionGoalUTC")
_MINUTES = (
    "respondMinutes",
    "resPlanMinutes",
    "resolveMinutes",
    "respondedSkippedMinutes",
    "resplanSkippedMinutes",
    "minutesWaiting",
)
_ESCALATIONS = {"Assigned": "Responded", "In Progress": "ResolutionPlan", ">Closed": "Resolved"}
"""The stage of the SLA that a status stands for."""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _entry_time(ticket: dict[str, Any]) -> datetime:
    info = ticket["_info"]
    return _moment(info.get("dateEntered") or info["lastUpdated"])


def _by_path() -> defaultdict[str, set[int]]:
    return defaultdict(set)


@dataclass(slots=True)
class DayReport:
    """The ids that were touched, by path. A record that was created is not among the edited."""

    edited: dict[str, set[int]] = field(default_factory=_by_path)
    created: dict[str, set[int]] = field(default_factory=_by_path)
    deleted: dict[str, set[int]] = field(default_factory=_by_path)


def working_day(
    tenant: Tenant, seed: int = 1, hours: float = 0, share: float | None = None
) -> DayReport:
    """Lives a day: that share of the tickets moves, and what hangs on it.

    Without a share as much happens as on a day of the tenant's four years, on ten tickets at
    least. Tickets come in, change status, close and reopen, get notes and time; as many close as
    come in, so the backlog keeps its level. Clients and deals are edited; a little is deleted. The
    clock moves on by `hours` in all, evenly.
    """
    day = _Day(tenant, random.Random(seed))  # noqa: S311
    tickets = len(tenant.collection(TICKETS))
    usual = min(tickets * _MANY, max(_FEW, tickets * _A_DAY))
    moving = max(1, int(usual if share is None else tickets * share))
    for step in range(_STEPS):
        for _ in range(moving * (step + 1) // _STEPS - moving * step // _STEPS):
            day.ticket()
        tenant.advance(hours * 3600 / _STEPS)
    for path, name in _TOUCHED.items():
        day.look_after(path, name)
    day.tidy_up(moving)
    return day.report


class _Day:
    def __init__(self, tenant: Tenant, dice: random.Random) -> None:
        self._tenant, self._dice = tenant, dice
        with tenant.lock:
            recent = tenant.collection(TICKETS).ids[-_RECENT:]
            known = [tenant.get(TICKETS, each) for each in recent]
        self._open = [int(each["id"]) for each in known if not each.get("closedFlag")]
        self._recent, self._level = recent, len(self._open)
        self.report = DayReport()

    def ticket(self) -> None:
        """One thing that happens to tickets."""
        found = self._some(TICKETS)
        if found is None:
            return
        come, close = (24, 38) if len(self._open) > self._level else (36, 26)
        what = self._dice.choices(
            (self._arrives, self._moves, self._closes, self._reopens), (come, 36, close, 2)
        )[0]
        ticket_id = what(found)
        self._time(ticket_id)
        if self._dice.random() < 1 / 3:
            self._note(ticket_id)

    def look_after(self, path: str, name: str) -> None:
        """One record in a hundred of a list, at least one, gets another text."""
        lists = [each for each in self._tenant.children(path) if len(each)]
        for _ in range(max(1, sum(map(len, lists)) // 100) if lists else 0):
            picked = self._dice.choice(lists).path
            if (found := self._some(picked)) is not None:
                self._edit(picked, found, **{name: f"Seen {iso(self._tenant.now())}"})

    def tidy_up(self, moving: int) -> None:
        """Wrong time entries go, and now and then a ticket."""
        for path, few in ((TIME, 1 + moving // 10), (TICKETS, 1 + moving // 100)):
            today = self.report.created[path]
            older = [each for each in self._tenant.collection(path).ids if each not in today]
            for each in self._dice.sample(older, min(few, len(older))):
                self._delete(path, each)

    def _some(self, path: str) -> dict[str, Any] | None:
        with self._tenant.lock:
            ids = self._tenant.collection(path).ids
            return self._tenant.get(path, self._dice.choice(ids)) if ids else None

    def _arrives(self, like: dict[str, Any]) -> int:
        """A new ticket, like an earlier one but untouched."""
        gone = {"id", "_info", "closedDate", "closedBy", *(date for date, _ in STAGES.values())}
        new = {name: value for name, value in like.items() if name not in gone}
        new |= {"summary": f"New: {like.get('summary', '')}", "closedFlag": False}
        new |= dict.fromkeys(_MINUTES, 0) | self._goals(like)
        new["_info"] = {"dateEntered": iso(self._tenant.now()), "enteredBy": "zadmin"}
        known = self._statuses(like.get("board", {}).get("id"))
        new["status"] = {**like.get("status", {}), "name": "New", "id": known.get("New", 1)}
        made = self._create(TICKETS, new)
        self._open.append(made)
        return made

    def _goals(self, like: dict[str, Any]) -> dict[str, str]:
        """As long from now as the earlier ticket's were from its entering."""
        moved = self._tenant.now() - _entry_time(like)
        return {name: iso(_moment(like[name]) + moved) for name in _GOALS if name in like}

    def _moves(self, ticket: dict[str, Any]) -> int:
        """An open ticket goes on, as often as something is put right in another one."""
        status = self._dice.choice(("Assigned", "In Progress", "Waiting Customer"))
        if self._dice.random() < 1 / 2:
            ticket = self._open_one(ticket)
        if ticket.get("closedFlag"):
            return self._corrects(ticket)
        return self._status(ticket, status, closed=False)

    def _closes(self, ticket: dict[str, Any]) -> int:
        """One that is open, be it of today or from before."""
        ticket = self._open_one(ticket)
        if ticket.get("closedFlag"):
            return self._corrects(ticket)
        return self._status(ticket, ">Closed", closed=True)

    def _reopens(self, ticket: dict[str, Any]) -> int:
        """One of the last ones, for whoever comes back does so soon."""
        own = self._dice.choice(self._recent)
        if own in self._tenant.collection(TICKETS):
            ticket = self._tenant.get(TICKETS, own)
        return self._status(ticket, "Re-opened", closed=False)

    def _open_one(self, otherwise: dict[str, Any]) -> dict[str, Any]:
        while self._open:
            picked = self._dice.choice(self._open)
            if picked in self._tenant.collection(TICKETS):
                return self._tenant.get(TICKETS, picked)
            self._open.remove(picked)  # somebody has deleted it since
        return otherwise

    def _corrects(self, ticket: dict[str, Any]) -> int:
        """What is closed stays closed; somebody puts something right."""
        others = [each for each in _SEVERITIES if each != ticket.get("severity")]
        self._edit(TICKETS, ticket, severity=self._dice.choice(others))
        return int(ticket["id"])

    def _status(self, ticket: dict[str, Any], name: str, *, closed: bool) -> int:
        if closed and ticket["id"] in self._open:
            self._open.remove(ticket["id"])
        elif not closed and ticket["id"] not in self._open:
            self._open.append(ticket["id"])
        known = self._statuses(ticket.get("board", {}).get("id"))
        status = {**ticket.get("status", {}), "id": known.get(name, 1), "name": name}
        when = iso(self._tenant.now()) if closed else None
        who = "zadmin" if closed else None
        fields = {"closedFlag": closed, "closedDate": when, "closedBy": who, "status": status}
        self._edit(
            TICKETS,
            ticket,
            **fields,
            **stage_reached(ticket, _ESCALATIONS.get(name), self._tenant.now()),
        )
        return int(ticket["id"])

    def _statuses(self, board: int | None) -> dict[str, int]:
        rows = self._tenant.collection(f"/service/boards/{board}/statuses")
        return {row["name"]: row["id"] for row in rows}

    def _time(self, ticket_id: int) -> None:
        """A quarter of an hour or more on the ticket, written down at once."""
        like = self._some(TIME)
        if like is None:
            return
        hours = self._dice.randint(1, 8) / 4
        now = self._tenant.now()
        ticket = self._tenant.get(TICKETS, ticket_id)
        gone = {"id", "_info", "invoice", "project", "phase"}
        new = {name: value for name, value in like.items() if name not in gone}
        new |= {
            "ticket": {"id": ticket_id, "summary": ticket.get("summary", "")},
            "chargeToId": ticket_id,
            "chargeToType": "ServiceTicket",
            "timeStart": iso(now - timedelta(hours=hours)),
            "timeEnd": iso(now),
            "dateEntered": iso(now),
            "actualHours": hours,
            "invoiceFlag": False,
        }
        if "company" in ticket:
            new["company"] = ticket["company"]
        self._create(TIME, new)

    def _note(self, ticket_id: int) -> None:
        note = {
            "ticketId": ticket_id,
            "text": "Worked on it today.",
            "detailDescriptionFlag": True,
            "dateCreated": iso(self._tenant.now()),
        }
        self._create(f"{TICKETS}/{ticket_id}/notes", note)

    def _create(self, path: str, record: dict[str, Any]) -> int:
        made = int(self._tenant.put(path, record)["id"])
        self.report.created[path].add(made)
        return made

    def _edit(self, path: str, record: dict[str, Any], **fields: Any) -> None:  # noqa: ANN401
        self._tenant.edit(path, record["id"], **fields)
        if record["id"] not in self.report.created[path]:
            self.report.edited[path].add(record["id"])

    def _delete(self, path: str, record_id: int) -> None:
        self._tenant.delete(path, record_id)
        self.report.edited[path].discard(record_id)
        self.report.deleted[path].add(record_id)
