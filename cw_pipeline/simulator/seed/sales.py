"""Opportunities with forecasts, activities, orders, campaigns and quotas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.seed.people import MEMBERS
from cw_pipeline.simulator.seed.words import NOTES, split_words
from cw_pipeline.simulator.seed.world import DAY, HOUR, Ref, day, guid, iso, money, reference

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

OPPORTUNITIES = "/sales/opportunities"
_MONTHS = split_words(
    "january february march april may june july august september october november december"
)


def make(world: World) -> None:
    """An opportunity for every 100 tickets, at least six; one in three has an order."""
    _campaigns(world)
    _quotas(world)
    for at in range(max(6, world.tickets_wanted // 100)):
        _opportunity(world, at)
    for _ in range(max(6, world.tickets_wanted // 50)):
        _activity(world)


def _opportunity(world: World, at: int) -> None:
    dice, company = world.dice, world.company()
    record_id = world.next_id(OPPORTUNITIES, 7)
    name = f"Deal {at} - {company.identifier}"
    status = world.refs[f"{OPPORTUNITIES}/statuses"][at % 4]
    is_open = status.name == "Open"
    began = world.when(world.now - 90 * DAY if is_open else None)
    closed = None if is_open else began + 60 * DAY
    # Most of what is open is still to close; with some of it nobody kept the date.
    due = world.now + dice.randint(-8, 75) * DAY if is_open else began + 60 * DAY
    step = dice.randrange(len(world.refs["/sales/stages"]))
    record = {
        "id": record_id,
        "name": name,
        "expectedCloseDate": day(due),
        "type": world.raw(f"{OPPORTUNITIES}/types"),
        "stage": world.refs["/sales/stages"][step].raw,
        "status": status.raw,
        "priority": {"id": 1, "name": "Medium"},
        "notes": dice.choice(NOTES),
        "probability": world.refs["/sales/probabilities"][step].raw,
        "source": "",
        "rating": world.raw(f"{OPPORTUNITIES}/ratings"),
        "campaign": world.raw("/marketing/campaigns") if at % 5 == 0 else None,
        "primarySalesRep": world.raw(MEMBERS),
        "locationId": 1,
        "businessUnitId": 1,
        "company": company.ref.raw,
        "contact": company.contacts[0].raw,
        "site": company.site.raw,
        "customerPO": "",
        "pipelineChangeDate": iso(began),
        "dateBecameLead": iso(began - 10 * DAY),
        "closedDate": iso(min(closed, world.now)) if closed else None,
        "closedBy": world.raw(MEMBERS) if closed else None,
        "totalSalesTax": 0.0,
        "billingTerms": world.raw("/finance/billingTerms"),
        "taxCode": world.raw("/finance/taxCodes"),
        "currency": world.refs["/finance/currencies"][0].raw,
        "companyLocationId": 1,
        "customFields": dice.choice(world.custom["opportunity"]),
    }
    world.put(OPPORTUNITIES, record, began, closed)
    ref = world.refer(OPPORTUNITIES, "opportunity", record_id, name)
    _forecast(world, ref, status, began)
    note = {
        "id": world.next_id("opportunityNotes"),
        "opportunityId": record_id,
        "type": world.raw("/company/noteTypes"),
        "text": dice.choice(NOTES),
        "flagged": False,
        "enteredBy": world.by[-1],
        "mobileGuid": guid(dice),
    }
    world.put(f"{OPPORTUNITIES}/{record_id}/notes", note, began)
    if status.name == "Won":
        _order(world, ref, began + 61 * DAY)


def _forecast(world: World, opportunity: Ref, status: Ref, began: int) -> None:
    def amounts(revenue: float) -> dict[str, Any]:
        cost = round(revenue * 0.6, 2)
        margin = round(revenue - cost, 2)
        return {"id": 0, "revenue": revenue, "cost": cost, "margin": margin, "percentage": 40.0}

    lines = [money(world.dice, 100, 20000) for _ in range(world.dice.randint(1, 3))]
    items = [
        {
            "id": world.next_id("forecastItems"),
            "forecastDescription": world.any("/procurement/catalog").name,
            "opportunity": opportunity.raw,
            "quantity": 1.0,
            "status": status.raw,
            "catalogItem": world.raw("/procurement/catalog"),
            "productClass": "NonInventory",
            **{name: value for name, value in amounts(line).items() if name != "id"},
            "includeFlag": True,
            "forecastType": "Product",
            "linkFlag": True,
            "recurringRevenue": 0.0,
            "recurringFlag": False,
            "sequenceNumber": float(at),
            "taxableFlag": True,
        }
        for at, line in enumerate(lines, start=1)
    ]
    total = round(sum(lines), 2)
    record = {
        "id": opportunity.id,
        "forecastItems": items,
        "productRevenue": amounts(total),
        "serviceRevenue": amounts(0.0),
        "forecastRevenueTotals": amounts(total),
        "recurringTotal": 0.0,
        "wonRevenue": amounts(total if status.name == "Won" else 0.0),
        "lostRevenue": amounts(total if status.name == "Lost" else 0.0),
        "openRevenue": amounts(total if status.name == "Open" else 0.0),
        "salesTaxRevenue": 0.0,
        "forecastTotalWithTaxes": total,
        "expectedProbability": 50,
        "currency": world.refs["/finance/currencies"][0].raw,
    }
    world.put(f"{OPPORTUNITIES}/{opportunity.id}/forecast", record, began)


def _order(world: World, opportunity: Ref, moment: int) -> None:
    path, company = "/sales/orders", world.company()
    total = money(world.dice, 500, 9000)
    record = {
        "id": world.next_id(path),
        "company": company.ref.raw,
        "contact": company.contacts[0].raw,
        "phone": "",
        "site": company.site.raw,
        "status": world.raw(f"{path}/statuses"),
        "opportunity": opportunity.raw,
        "orderDate": day(moment),
        "dueDate": day(moment + 30 * DAY),
        "billingTerms": world.raw("/finance/billingTerms"),
        "taxCode": world.raw("/finance/taxCodes"),
        "location": world.raw("/system/locations"),
        "department": world.raw("/system/departments"),
        "salesRep": world.raw(MEMBERS),
        "notes": "",
        "billClosedFlag": False,
        "billShippedFlag": False,
        "description": opportunity.name,
        "productIds": [1, 2],
        "total": total,
        "subTotal": total,
        "taxTotal": 0.0,
        "currency": world.refs["/finance/currencies"][0].raw,
    }
    world.put(path, record, min(moment, world.now))


def _activity(world: World) -> None:
    path, company, moment = "/sales/activities", world.company(), world.when()
    closed = moment < world.now - 14 * DAY
    record = {
        "id": world.next_id(path, 33),
        "name": f"Call {company.contacts[0].name}",
        "type": world.raw(f"{path}/types"),
        "company": company.ref.raw,
        "contact": company.contacts[0].raw,
        "phoneNumber": "",
        "email": "",
        "status": world.refs[f"{path}/statuses"][1 if closed else 0].raw,
        "opportunity": world.raw(OPPORTUNITIES) if world.chance(0.4) else None,
        "notes": world.dice.choice(NOTES),
        "dateStart": iso(moment),
        "dateEnd": iso(moment + HOUR // 2),
        "assignedBy": world.raw(MEMBERS),
        "assignTo": world.raw(MEMBERS),
        "scheduleStatus": world.raw("/schedule/statuses"),
        "notifyFlag": False,
        "closeFlag": closed,
        "mobileGuid": guid(world.dice),
        "currency": world.refs["/finance/currencies"][0].raw,
    }
    world.put(path, record, moment - DAY, moment)


def _campaigns(world: World) -> None:
    path = "/marketing/campaigns"
    for name in ("Spring Mailing", "Security Webinar", "Größer werden"):
        record_id, began = world.next_id(path), world.when()
        record = {
            "id": record_id,
            "name": name,
            "type": world.raw(f"{path}/types"),
            "status": world.raw(f"{path}/statuses"),
            "startDate": day(began),
            "endDate": day(began + 40 * DAY),
            "locationId": 1,
            "member": world.raw(MEMBERS),
            "inactive": False,
            "budgetRevenue": 20000.0,
            "budgetCost": 1500.0,
            "actualCost": 1320.5,
            "emailsSent": 900,
        }
        world.put(path, record, began)
        world.refs.setdefault(path, []).append(reference(path, "campaign", record_id, name))


def _quotas(world: World) -> None:
    for member in world.refs[MEMBERS][:3]:
        record: dict[str, Any] = {
            "id": world.next_id("quotas"),
            "member": member.raw,
            "forecastYear": int(iso(world.now)[:4]),
            "currency": world.refs["/finance/currencies"][0].raw,
        }
        for month in _MONTHS:
            record[f"{month}Revenue"] = 10000.0
            record[f"{month}Margin"] = 4000.0
        world.put("/sales/quotas", record, world.start)
