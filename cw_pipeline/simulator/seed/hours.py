"""Time entries and sheets, schedule entries and expenses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.seed.people import GHOST, MEMBERS, UNITS
from cw_pipeline.simulator.seed.words import NOTES
from cw_pipeline.simulator.seed.world import (
    BASE,
    DAY,
    HOUR,
    Company,
    Ref,
    Ticket,
    day,
    guid,
    iso,
    money,
)

if TYPE_CHECKING:
    import msgspec

    from cw_pipeline.simulator.seed.world import World

TIME = "/time/entries"
_OPTIONS = ("Billable",) * 6 + ("DoNotBill", "NoCharge")
_PER_TICKET = 2
_AT_WORK = ("Assigned", "In Progress")


def make(world: World) -> None:
    """Two entries for each ticket on average; one ticket in seven was done in one go."""
    _sheets(world)
    left = _PER_TICKET * world.tickets_wanted
    for at, ticket in enumerate(world.tickets):
        few = 1 if at % 7 == 0 else world.dice.randint(1, 3)
        for _ in range(min(few, left - world.tickets_wanted // 50)):
            _entry(world, ticket.company, ticket)
            left -= 1
    while left > 0:
        _entry(world, world.company(), None)
        left -= 1


def _sheets(world: World) -> None:
    path = "/time/sheets"
    for member in world.refs[MEMBERS]:
        for week in range(0, 4 * 52, 13):
            began = world.start + week * 7 * DAY
            record_id = world.next_id(path)
            record = {
                "id": record_id,
                "member": member.raw,
                "year": 2022 + week // 52,
                "period": week % 52 + 1,
                "dateStart": iso(began)[:10],
                "dateEnd": iso(began + 6 * DAY)[:10],
                "status": "ApprovedByTierTwo",
                "hours": 40.0,
                "deadline": iso(began + 9 * DAY)[:10],
            }
            world.put(path, record, began, began + 8 * DAY)
            world.refer(path, "timeSheet", record_id, iso(began)[:10])


def _entry(world: World, company: Company, ticket: Ticket | None) -> None:
    dice = world.dice
    record_id = world.next_id(TIME, 501)
    began = world.when(ticket.entered, ticket.last) if ticket else world.when()
    # One in fifty is night work that runs into the next day.
    if record_id % 50 == 0:
        began = began // DAY * DAY + 23 * HOUR
    hours = dice.randint(1, 16) / 4 + (1 if record_id % 50 == 0 else 0)
    option = dice.choice(_OPTIONS) if company.billable else "DoNotBill"
    billed = hours if option == "Billable" else 0.0
    rate = dice.choice((85.0, 120.0, 150.0, 165.5))
    # People write their time down at once, mostly; some a week later.
    entered = began + int(hours * HOUR) + (7 * DAY if world.chance(0.05) else 600)
    # What is older than a month was billed, but for what was forgotten.
    invoiced = billed > 0 and world.chance(billed_by(world.now - began, 0.2))
    record = {
        "id": record_id,
        "company": company.ref.raw,
        "companyType": "Client",
        **_charge(world, company, ticket),
        "member": (world.refs[GHOST][0] if record_id % 211 == 0 else world.any(MEMBERS)).raw,
        "locationId": 1,
        "businessUnitId": 1,
        "businessGroupDesc": "Services",
        "location": world.raw("/system/locations"),
        "department": world.raw(UNITS),
        "workType": world.raw("/time/workTypes"),
        "workRole": world.raw("/time/workRoles"),
        "territory": "Tampa Office",
        "timeStart": iso(began),
        "timeEnd": iso(began + int(hours * HOUR)),
        "hoursDeduct": 0.0,
        "actualHours": hours,
        "billableOption": option,
        "notes": dice.choice(NOTES),
        "addToDetailDescriptionFlag": True,
        "addToInternalAnalysisFlag": False,
        "addToResolutionFlag": False,
        "emailResourceFlag": False,
        "emailContactFlag": False,
        "emailCcFlag": False,
        "hoursBilled": billed,
        "invoiceHours": billed,
        # A string, as the real one sends it to roles that may not see costs.
        "hourlyCost": f"{rate / 3:.2f}",
        "enteredBy": world.by[-1],
        "dateEntered": iso(min(entered, world.now)),
        "invoice": world.raw("/finance/invoices") if invoiced else None,
        "mobileGuid": guid(dice),
        "hourlyRate": rate,
        "agreementHours": 0.0,
        "agreementAmount": 0.0,
        "agreementAdjustment": 0.0,
        "adjustment": 0.0,
        "invoiceReady": 1 if billed else 0,
        "timeSheet": world.raw("/time/sheets"),
        "status": "ApprovedByTierTwo" if invoiced else "Open",
        "invoiceFlag": invoiced,
        "extendedInvoiceAmount": round(billed * rate, 2),
        "locationName": "Tampa Office",
        "taxCode": world.raw("/finance/taxCodes"),
        "customFields": dice.choice(world.custom["time"]),
        "_info": {"chargeToMobileGuid": guid(dice)},
    }
    world.put(TIME, record, entered, world.when(entered) if invoiced else None)


def billed_by(age: int, at_once: float) -> float:
    """How likely work of an age is on an invoice: after a month most of it, after four nearly all.

    `at_once` is how likely it is within the month.
    """
    if age < 35 * DAY:
        return at_once
    return 0.95 if age < 120 * DAY else 0.998


def _charge(world: World, company: Company, ticket: Ticket | None) -> dict[str, Any]:
    """What the time is charged to: a ticket, or else the company."""
    agreement = _agreement(company)
    if ticket is None:
        code = world.any("/time/chargeCodes")
        return {"chargeToId": code.id, "chargeToType": "ChargeCode", **agreement}
    return {
        "chargeToId": ticket.id,
        "chargeToType": "ProjectTicket" if ticket.project else "ServiceTicket",
        "ticket": ticket.ref.raw,
        "ticketBoard": ticket.board,
        "ticketStatus": ticket.status,
        "ticketType": "Incident",
        "project": ticket.project.raw if ticket.project else None,
        "phase": ticket.phase.raw if ticket.phase else None,
        **agreement,
    }


def _agreement(company: Company) -> dict[str, Any]:
    if company.agreement is None:
        return {}
    return {"agreement": company.agreement.raw, "agreementType": "Managed Services"}


def schedule(world: World) -> None:
    """An entry for every fifth ticket, the next days' work, and time off."""
    for ticket in world.tickets[::5]:
        begins = world.when(ticket.entered, ticket.last)
        _add_schedule_entry(world, ticket.id, ticket.ref.name, begins, "Service")
    for ticket in world.tickets:
        if ticket.status in _AT_WORK and world.chance(0.6):
            begins = world.now + world.dice.randrange(3 * DAY)
            _add_schedule_entry(world, ticket.id, ticket.ref.name, begins, "Service")
    for member in world.refs[MEMBERS]:
        _add_schedule_entry(world, member.id, "Vacation", world.when(), "Time Off")


def _add_schedule_entry(world: World, object_id: int, name: str, begins: int, kind: str) -> None:
    path = "/schedule/entries"
    types = world.refs["/schedule/types"]
    hours = world.dice.choice((1.0, 2.0, 4.0, 8.0))
    done = begins < world.now - DAY
    record = {
        "id": world.next_id(path, 71),
        "objectId": object_id,
        "name": name,
        "member": world.raw(MEMBERS),
        "where": world.raw("/service/locations"),
        "dateStart": iso(begins),
        "dateEnd": iso(begins + int(hours * HOUR)),
        "reminder": {"id": 6, "name": "15 minutes"},
        "status": world.raw("/schedule/statuses"),
        "type": next(ref for ref in types if ref.name == kind).raw,
        "span": {"id": 1, "identifier": "N"},
        "doneFlag": done,
        "acknowledgedFlag": True,
        "ownerFlag": True,
        "meetingFlag": False,
        "allowScheduleConflictsFlag": True,
        "addMemberToProjectFlag": False,
        "mobileGuid": guid(world.dice),
        "hours": hours,
    }
    made = min(begins - 2 * DAY, world.now - HOUR)
    world.put(path, record, made, min(begins, world.now))


def expenses(world: World) -> None:
    """A report for each member, and an expense on every twentieth ticket."""
    reports: list[Ref] = []
    for member in world.refs[MEMBERS]:
        path, began = "/expense/reports", world.when()
        record_id = world.next_id(path)
        record = {
            "id": record_id,
            "member": member.raw,
            "year": 2024,
            "period": 3,
            "dateStart": iso(began)[:10],
            "dateEnd": iso(began + 6 * DAY)[:10],
            "status": "Open",
            "total": 0.0,
            "dueDate": iso(began + 9 * DAY)[:10],
        }
        world.put(path, record, began)
        reports.append(world.refer(path, "report", record_id, iso(began)[:10]))
    for ticket in world.tickets[::20]:
        _expense(world, ticket, world.dice.choice(reports).raw)


def _expense(world: World, ticket: Ticket, report: msgspec.Raw) -> None:
    path, spent = "/expense/entries", world.when(ticket.entered, ticket.last)
    amount = money(world.dice, 4, 400)
    billed = world.chance(billed_by(world.now - spent, 0.0))
    record = {
        "id": world.next_id(path, 9),
        "expenseReport": report,
        "company": ticket.company.ref.raw,
        "chargeToId": ticket.id,
        "chargeToType": "ProjectTicket" if ticket.project else "ServiceTicket",
        "type": world.raw("/expense/types"),
        "member": world.raw(MEMBERS),
        "paymentMethod": world.raw("/expense/paymentTypes"),
        "classification": world.raw("/expense/classifications"),
        "amount": amount,
        "billableOption": world.dice.choice(_OPTIONS),
        "invoice": world.raw("/finance/invoices") if billed else None,
        "date": day(spent),
        "locationId": 1,
        "businessUnitId": 1,
        "notes": "",
        **{k: v for k, v in _agreement(ticket.company).items() if k == "agreement"},
        "invoiceAmount": amount,
        "mobileGuid": guid(world.dice),
        "taxes": [{"amount": round(amount / 6, 2), "type": {"id": 1, "name": "VAT"}}],
        "currency": world.refs["/finance/currencies"][0].raw,
        "status": "Open",
        "billAmount": amount,
        "agreementAmount": 0.0,
        "odometerStart": 0.0,
        "odometerEnd": 0.0,
        "ticket": ticket.ref.raw,
        "project": ticket.project.raw if ticket.project else None,
        "_info": {"notes_href": f"{BASE}{path}"},
    }
    world.put(path, record, spent)
