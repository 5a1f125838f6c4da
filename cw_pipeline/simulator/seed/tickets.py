"""Service tickets and their notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.seed.people import GHOST, MEMBERS
from cw_pipeline.simulator.seed.words import CITIES, NOTES, THINGS, TROUBLES, split_words
from cw_pipeline.simulator.seed.world import (
    BASE,
    DAY,
    HOUR,
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
    from cw_pipeline.simulator.seed.world import World

TICKETS = "/service/tickets"
_LINKS = split_words(
    "activities scheduleentries documents configurations tasks notes products timeentries "
    "expenseEntries"
)
_OPEN = ("New", "Assigned", "In Progress", "Waiting Customer", "Re-opened")
_MONTH = 30 * DAY
_LEVELS = ("Low", "Medium", "High")


def make(world: World, boards: Sequence[Board]) -> None:
    """Tickets in the order they came in, over all the years."""
    span = world.now - world.start
    moments = sorted(world.dice.randrange(span) for _ in range(world.tickets_wanted))
    service = [board for board in boards if not board.project]
    for at, moment in enumerate(moments):
        _ticket(world, world.dice.choice(service), at, world.start + moment)


def _ticket(world: World, board: Board, at: int, entered: int) -> None:
    dice = world.dice
    record_id = world.next_id("tickets", 1001)
    company = world.company()
    summary = f"{dice.choice(THINGS)} {dice.choice(TROUBLES)}"
    done = _done(world, entered)
    status = dice.choice(("Completed", ">Closed")) if done else _open_status(world, at)
    last = done or world.when(entered, min(world.now, entered + 30 * DAY))
    if done and world.chance(0.3):
        # The monthly run over everything that was closed: one second for many tickets.
        last = min(world.now, (done // _MONTH + 1) * _MONTH)
    record = {
        "id": record_id,
        "summary": summary,
        "recordType": "ServiceTicket",
        **_place(world, board, company, status),
        **_flags(world, company),
        **_course(world, entered, done, status),
        **_kin(world, at),
        "customFields": dice.choice(world.custom["ticket"]),
        "_info": _links(record_id),
    }
    if at % 97 == 0:
        record["owner"] = world.refs[GHOST][0].raw
    world.put(TICKETS, record, entered, last)
    info = {"billingMethod": "ActualRates", "status": status}
    ref = reference(TICKETS, "ticket", record_id, summary, summary=summary, info=info)
    world.tickets.append(Ticket(record_id, ref, company, board.ref.name, status, entered, last))
    if at % 3 == 0:
        notes(world, TICKETS, record_id, entered, last)


def _links(record_id: int) -> dict[str, str]:
    own = f"{BASE}{TICKETS}/{record_id}/"
    return {f"{each}_href": own + each for each in _LINKS}


def _done(world: World, entered: int) -> int | None:
    """When it was closed: most within days, some never."""
    if world.chance(0.03):
        return None
    closed = entered + int(world.dice.expovariate(1 / (2.5 * DAY))) + 20 * 60
    return closed if closed < world.now else None


def _open_status(world: World, at: int) -> str:
    return "Re-opened" if at % 5 == 0 else world.dice.choice(_OPEN)


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
        "owner": world.raw(MEMBERS) if world.chance(0.8) else None,
        "priority": world.raw("/service/priorities"),
        "serviceLocation": world.raw("/service/locations"),
        "source": world.raw("/service/sources"),
        "agreement": company.agreement.raw if company.agreement else None,
        "agreementType": "Managed Services" if company.agreement else None,
        "location": world.raw("/system/locations"),
        "department": world.raw("/system/departments"),
        "sla": world.raw("/service/SLAs"),
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


def _course(world: World, entered: int, done: int | None, status: str) -> dict[str, Any]:
    """How far the ticket has come: the stages of its SLA."""
    dice = world.dice
    # A reopened ticket keeps the date it was once resolved.
    end = done or (entered + 3 * HOUR if status == "Re-opened" else None)
    span = (end or world.now) - entered
    responded = entered + min(span, dice.randrange(4 * HOUR))
    who = world.by[-1 - dice.randrange(len(world.by) - 2)]
    course = {
        "closedFlag": done is not None,
        "requiredDate": day(entered + 5 * DAY) if world.chance(0.3) else None,
        "budgetHours": dice.randint(0, 20) / 2,
        "actualHours": dice.randint(1, 24) / 4,
        "dateResponded": iso(responded),
        "respondedBy": who,
        "respondedHours": round((responded - entered) / HOUR, 2),
        "respondMinutes": (responded - entered) // 60,
        "respondByGoalUTC": iso(entered + HOUR),
        "resplanGoalUTC": iso(entered + 4 * HOUR),
        "resolutionGoalUTC": iso(entered + 16 * HOUR),
        "isInSla": span < 16 * HOUR,
        "slaStatus": "Resolved" if done else "Resolve by Tue 10/04 11:00 PM UTC-05",
        "escalationStartDateUTC": iso(entered),
        "escalationLevel": 0,
        "minutesBeforeWaiting": 0,
        "minutesWaiting": dice.randrange(300),
        "respondedSkippedMinutes": 0,
        "resplanSkippedMinutes": 0,
        "resources": who,
    }
    if end:
        course |= {
            "dateResplan": iso(entered + span // 2),
            "resPlanMinutes": span // 120,
            "resplanHours": round(span / 2 / HOUR, 2),
            "resplanBy": who,
            "dateResolved": iso(end),
            "resolveMinutes": span // 60,
            "resolutionHours": round(span / HOUR, 2),
            "resolvedBy": who,
        }
    if done:
        course |= {"closedDate": iso(done), "closedBy": who}
    return course


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
    own = f"{path}/{ticket_id}/notes"
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
        world.put(own, record, made)
