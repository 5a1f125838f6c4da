"""What ConnectWise fills in when somebody saves a record: references, and what a status does."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from cw_pipeline.catalog.facts import facts, fields
from cw_pipeline.simulator.seed.sla import AllHours, BusinessHours
from cw_pipeline.simulator.tenant import canonical, iso, template

if TYPE_CHECKING:
    from cw_pipeline.simulator.tenant import Tenant

_TICKETS = frozenset({"/service/tickets", "/project/tickets"})
STAGES = {
    "Responded": ("dateResponded", "respondMinutes"),
    "ResolutionPlan": ("dateResplan", "resPlanMinutes"),
    "Resolved": ("dateResolved", "resolveMinutes"),
}
"""The date and the minutes of the stage of the SLA that a status stands for."""
_SHOWN = ("id", "identifier", "name")


def save_record(
    tenant: Tenant, path: str, new: dict[str, Any], old: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The record as it is stored; `old` is what was stored before.

    A reference may be given by id, identifier or name; one that leads nowhere stays as it is.
    """
    before = old or {}
    words = fields(_models().get(template(path), ""))
    whole = dict(new)
    for name, value in new.items():
        if isinstance(value, dict) and "_info" not in value and value != before.get(name):
            list_of = _list_of(new, words.get(name, ""))
            if list_of and (found := _find(tenant, list_of, value)):
                whole[name] = {each: found[each] for each in _SHOWN if each in found}
    if path in _TICKETS and whole.get("status") != before.get("status"):
        whole |= _status_effects(tenant, whole, before)
    return {name: value for name, value in whole.items() if value is not None}


def stage_reached(ticket: dict[str, Any], escalation: str | None, now: datetime) -> dict[str, Any]:
    """The date and minutes of a stage that a ticket has just reached, for the first time.

    Minutes are those of the clock of its agreement, which stood while the ticket waited.
    """
    stage = STAGES.get(escalation or "")
    if stage is None or stage[0] in ticket:
        return {}
    info = ticket.get("_info", {})
    times = [info.get("dateEntered") or info.get("lastUpdated") or iso(now)]
    times += [ticket[date] for date, _ in STAGES.values() if date in ticket]
    since, until = max(map(datetime.fromisoformat, times)).timestamp(), now.timestamp()
    premium = (ticket.get("sla") or {}).get("name") == "Premium SLA"
    clock = AllHours() if premium else BusinessHours(int(since), int(until), ())
    minutes = (clock.seconds_at(int(until)) - clock.seconds_at(int(since))) // 60
    if escalation == "Resolved":  # nobody waits before there is a plan
        minutes -= ticket.get("minutesWaiting") or 0
    return {stage[0]: iso(now), stage[1]: max(0, minutes)}


def _status_effects(tenant: Tenant, ticket: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """What the ticket's new status changes, unless it was changed by itself at the same time."""
    status = _find(tenant, _statuses_of(ticket), ticket.get("status") or {})
    if status is None:
        return {}
    made = stage_reached(ticket, status.get("escalationStatus"), tenant.now())
    closed = bool(status.get("closedStatus"))
    if closed != bool(old.get("closedFlag")) and ticket.get("closedFlag") == old.get("closedFlag"):
        made |= {
            "closedFlag": closed,
            "closedDate": iso(tenant.now()) if closed else None,
            "closedBy": "zadmin" if closed else None,
        }
    return made


def _statuses_of(ticket: dict[str, Any]) -> str:
    return f"/service/boards/{(ticket.get('board') or {}).get('id', 0)}/statuses"


def _list_of(record: dict[str, Any], word: str) -> str | None:
    """The list that a field refers to; None where that cannot be told."""
    if word == "@ServiceStatusReference":
        return _statuses_of(record)
    model = word.removeprefix("@").removesuffix("Reference")
    return _lists().get(model.lower()) or _lists().get(model.removeprefix("System").lower())


def _find(tenant: Tenant, path: str, given: dict[str, Any]) -> dict[str, Any] | None:
    """The record that a reference means, by the first of its fields that says so."""
    held = tenant.collection(path)
    if isinstance(given.get("id"), int):
        return held.get(given["id"]) if given["id"] in held else None
    for key in ("identifier", "name"):
        if text := str(given.get(key) or "").lower():
            same = (record for record in held if str(record.get(key, "")).lower() == text)
            return next(same, None)
    return None


@cache
def _models() -> dict[str, str]:
    lists = facts()["lists"].items()
    return {template(path): fact["model"] for path, fact in lists if "model" in fact}


@cache
def _lists() -> dict[str, str]:
    """The list of each model's records, where it hangs below no other."""
    found: dict[str, str] = {}
    for path, fact in facts()["lists"].items():
        if fact["kind"] == "entity" and "model" in fact and "{" not in path:
            found.setdefault(fact["model"].lower(), canonical(path))
    return found
