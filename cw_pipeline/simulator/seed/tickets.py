"""Service tickets and their notes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.seed.boards import CLOSED_BOARD
from cw_pipeline.simulator.seed.people import GHOST, MEMBERS
from cw_pipeline.simulator.seed.sla import HOURS, AllHours, BusinessHours, course, fields
from cw_pipeline.simulator.seed.words import CITIES, NOTES, THINGS, TROUBLES, split_words
from cw_pipeline.simulator.seed.world import (
    BASE,
    DAY,
    YEARS,
    Company,
    Ticket,
    day,
    guid,
    iso,
    reference,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.simulator.seed.boards import Board
    from cw_pipeline.simulator.seed.sla import Course, Reading
    from cw_pipeline.simulator.seed.world import World

TICKETS = "/service/tickets"
_LINKS = split_words(
    "activities scheduleentries documents configurations tasks notes products timeentries "
    "expenseEntries"
)
_MONTH = 30 * DAY
_LEVELS = ("Low", "Medium", "High")
_PREMIUM = 5  # one company in so many has the premium agreement
_FORGOTTEN = 12  # tickets that were never finished, of those of the last months
_FORGOTTEN_DAYS = 150
_REOPENED = 0.95  # the ticket at this place is open again, however few there are
_OWNED = 0.97


@dataclass(frozen=True, slots=True)
class _Promises:
    """The clocks of the agreements, and how minutes are counted."""

    standard: BusinessHours
    premium: AllHours
    reading: Reading


def make(world: World, boards: Sequence[Board], reading: Reading) -> None:
    """Tickets in the order they came in, over all the years."""
    holidays = {date.fromisoformat(each) for each in world.holidays}
    clock = BusinessHours(world.start, world.now + 200 * DAY, holidays)
    promises = _Promises(clock, AllHours(), reading)
    moments = sorted(_came_in(world, clock) for _ in range(world.tickets_wanted))
    service = [board for board in boards if not board.project]
    in_use = [board for board in service if board.ref.name != CLOSED_BOARD]
    for at, moment in enumerate(moments):
        known = service if moment < world.start + YEARS // 2 * 365 * DAY else in_use
        _ticket(world, world.dice.choice(known), at, moment, promises)


def _came_in(world: World, clock: BusinessHours) -> int:
    """When a ticket came in: four of five while people work, monitoring writes the others."""
    if world.chance(0.2):
        return world.start + world.dice.randrange(world.now - world.start)
    first = clock.seconds_at(world.start)
    return clock.at(first + world.dice.randrange(clock.seconds_at(world.now) - first))


def _ticket(world: World, board: Board, at: int, entered: int, promises: _Promises) -> None:
    dice = world.dice
    record_id = world.next_id("tickets", 1001)
    company = world.company()
    summary = f"{dice.choice(THINGS)} {dice.choice(TROUBLES)}"
    priority = dice.choices(range(4), (4, 16, 50, 30))[0]
    premium = company.ref.id % _PREMIUM == 0
    clock = promises.premium if premium else promises.standard
    times = course(world, clock, entered, HOURS[priority], faster=1 + premium)
    recent = world.tickets_wanted * _FORGOTTEN_DAYS / (YEARS * 365)
    lingers = entered > world.now - _FORGOTTEN_DAYS * DAY and world.chance(
        min(0.1, _FORGOTTEN / recent)
    )
    resolves = (
        times.resolve.at if times.resolve.at is not None and times.resolve.at <= world.now else None
    )
    reopened = resolves is not None and (
        at == int(_REOPENED * world.tickets_wanted)
        or (resolves > world.now - 20 * DAY and world.chance(0.03))
    )
    done = None if lingers or reopened else resolves
    status = _status(world, times, done, lingers=lingers, reopened=reopened)
    # What lingers is looked at now and then.
    last = done or world.when(max(entered, world.now - 12 * DAY), world.now)
    if done and world.chance(0.3):
        # The monthly run over everything that was closed: one second for many tickets.
        last = min(world.now, (done // _MONTH + 1) * _MONTH)
    who = world.by[-1 - dice.randrange(len(world.by) - 2)]
    record = {
        "id": record_id,
        "summary": summary,
        "recordType": "ServiceTicket",
        **_place(world, board, company, status),
        "priority": world.refs["/service/priorities"][priority].raw,
        "sla": world.refs["/service/SLAs"][premium].raw,
        **_flags(world, company),
        **_work(world, entered, who),
        **fields(times, world.now, who, promises.reading, resolved=bool(done) or reopened),
        "closedFlag": done is not None,
        "slaStatus": "Resolved" if done else f"Resolve by {iso(times.resolve.goal_at)}",
        **_kin(world, at),
        "customFields": dice.choice(world.custom["ticket"]),
        "_info": _links(record_id),
    }
    if done:
        record |= {"closedDate": iso(done), "closedBy": who}
    if at % 97 == 0:
        record["owner"] = world.refs[GHOST][0].raw
    if status == "New":
        record |= {"owner": None, "resources": None}
    world.put(TICKETS, record, entered, last)
    info = {"billingMethod": "ActualRates", "status": status}
    ref = reference(TICKETS, "ticket", record_id, summary, summary=summary, info=info)
    world.tickets.append(Ticket(record_id, ref, company, board.ref.name, status, entered, last))
    if at % 3 == 0:
        notes(world, TICKETS, record_id, entered, last)


def _status(world: World, times: Course, done: int | None, *, lingers: bool, reopened: bool) -> str:
    """The ticket's status. What lingers waits for the client, mostly."""
    if done:
        return world.dice.choice(("Completed", ">Closed"))
    if reopened:
        return "Re-opened"
    if lingers and world.chance(0.6):
        return "Waiting Customer"
    return times.status(world.now)


def _links(record_id: int) -> dict[str, str]:
    path = f"{BASE}{TICKETS}/{record_id}/"
    return {f"{each}_href": path + each for each in _LINKS}


def _place(world: World, board: Board, company: Company, status: str) -> dict[str, Any]:
    """Where the ticket stands and whose it is."""
    dice = world.dice
    contact = dice.choice(company.contacts)
    return {
        "board": board.ref.raw,
        "status": board.statuses[status].raw,
        "company": company.ref.raw,
        "site": company.site.raw,
        "siteName": "Main",
        "addressLine1": "",
        "city": dice.choice(CITIES),
        "country": world.refs["/company/countries"][0].raw,
        "contact": contact.raw,
        "contactName": contact.name,
        "contactPhoneNumber": "8135550100",
        "contactEmailAddress": f"{contact.id}@{company.identifier.lower()}.example.com",
        "type": dice.choice(board.types).raw,
        "subType": dice.choice(board.subtypes).raw if world.chance(0.7) else None,
        "item": dice.choice(board.items).raw if world.chance(0.3) else None,
        "team": board.teams[0].raw,
        "owner": world.raw(MEMBERS) if world.chance(_OWNED) else None,
        "serviceLocation": world.raw("/service/locations"),
        "source": world.raw("/service/sources"),
        "agreement": company.agreement.raw if company.agreement else None,
        "agreementType": "Managed Services" if company.agreement else None,
        "location": world.raw("/system/locations"),
        "department": world.raw("/system/departments"),
        "currency": world.refs["/finance/currencies"][0].raw,
    }


def _flags(world: World, company: Company) -> dict[str, Any]:
    bill = "Billable" if company.billable else "DoNotBill"
    return {
        "severity": world.dice.choice(_LEVELS),
        "impact": world.dice.choice(_LEVELS),
        "allowAllClientsPortalView": False,
        "customerUpdatedFlag": world.chance(0.2),
        "automaticEmailContactFlag": False,
        "automaticEmailResourceFlag": False,
        "automaticEmailCcFlag": False,
        "automaticEmailCc": "",
        "approved": True,
        "estimatedExpenseCost": 0.0,
        "estimatedExpenseRevenue": 0.0,
        "estimatedProductCost": 0.0,
        "estimatedProductRevenue": 0.0,
        "estimatedTimeCost": 0.0,
        "estimatedTimeRevenue": 0.0,
        "billingMethod": "ActualRates",
        "subBillingMethod": "ActualRates",
        "billTime": bill,
        "billExpenses": bill,
        "billProducts": bill,
        "requestForChangeFlag": False,
        "mobileGuid": guid(world.dice),
    }


def _work(world: World, entered: int, who: str) -> dict[str, Any]:
    """What was asked for, and what was spent."""
    dice = world.dice
    return {
        "requiredDate": day(entered + 5 * DAY) if world.chance(0.3) else None,
        "budgetHours": dice.randint(0, 20) / 2,
        "actualHours": dice.randint(1, 24) / 4,
        "resources": f"{who}, {dice.choice(world.by[2:])}" if world.chance(0.15) else who,
    }


def _kin(world: World, at: int) -> dict[str, Any]:
    """Children of an earlier ticket, and tickets merged into one."""
    kin: dict[str, Any] = {"hasChildTicket": at % 41 == 0, "hasMergedChildTicketFlag": at % 61 == 0}
    earlier = world.tickets[-1] if world.tickets else None
    if earlier and at % 41 == 1:
        kin["parentTicketId"] = earlier.id
    if earlier and at % 61 == 1:
        kin["mergedParentTicket"] = earlier.ref.raw
    return kin


def notes(world: World, path: str, ticket_id: int, entered: int, last: int) -> None:
    """One to three notes of a ticket, on whichever list it is."""
    path_of_notes = f"{path}/{ticket_id}/notes"
    for _ in range(world.dice.randint(1, 3)):
        made = world.when(entered, last)
        kind = world.dice.choice(("detail", "internal", "resolution"))
        record: dict[str, Any] = {
            "id": world.next_id("notes"),
            "ticketId": ticket_id,
            "text": world.dice.choice(NOTES),
            "detailDescriptionFlag": kind == "detail",
            "internalAnalysisFlag": kind == "internal",
            "resolutionFlag": kind == "resolution",
            "issueFlag": False,
            "member": world.raw(MEMBERS),
            "customerUpdatedFlag": False,
            "processNotifications": True,
            "internalFlag": kind == "internal",
            "externalFlag": kind != "internal",
        }
        if path == TICKETS:
            record |= {"dateCreated": iso(made), "createdBy": world.by[-1]}
        world.put(path_of_notes, record, made)
