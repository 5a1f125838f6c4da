"""Agreements with additions and adjustments, and invoices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.seed.people import UNITS
from cw_pipeline.simulator.seed.words import split_words
from cw_pipeline.simulator.seed.world import DAY, HOUR, Company, Ref, day, iso, money, reference

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

AGREEMENTS = "/finance/agreements"
INVOICES = "/finance/invoices"
_CREDIT = 25  # one invoice of so many is a credit memo
_INVOICE_DAYS = 90
_PAID = ((150, 0.999), (60, 0.96), (38, 0.85))
"""The share of invoices that are paid, by their age in days."""
_SLOW = (80, 3)
_SLOW_DAYS = 300
"""Of so many companies one, at this place, does not pay before so many days."""
_MONTH = 365 / 12 * DAY
_LABOUR = 4.1
"""What the work of a month costs, for each ticket that the tenant ever has."""
_MARKUP = 2.6
"""What work costs a client without an agreement, in what it costs us."""
_CYCLE_MONTHS = {"Monthly": 1, "Quarterly": 3, "Semi-annual": 6, "Yearly": 12}
_COVERS = split_words(
    "coverAgreementTime coverAgreementProduct coverAgreementExpense coverSalesTax "
    "carryOverUnused allowOverruns expireWhenZero chargeToFirm taxable prorateFlag "
    "invoiceProratedAdditionsFlag autoInvoiceFlag billableTimeInvoice"
)


def agreements(world: World) -> None:
    """Two companies in three have an agreement; one in nine of those is cancelled."""
    for at, company in enumerate(world.companies):
        company.labour = world.share_of_work(at) * world.tickets_wanted * _LABOUR
        if at % 3:
            company.agreement = _agreement(world, company, cancelled=at % 9 == 1)


def _agreement(world: World, company: Company, *, cancelled: bool) -> Ref:
    dice = world.dice
    record_id = world.next_id(AGREEMENTS, 3)
    # What is cancelled has lived for a while; others have come ever since.
    lived = 200 if cancelled else 10
    began = world.when(world.start, world.now - lived * DAY) // DAY * DAY
    kind = world.any(f"{AGREEMENTS}/types")
    # In mid-month, which is where prorating goes wrong.
    ended = (began + dice.randint(60, 180) * DAY + 14 * DAY) if cancelled else None
    endless = world.chance(0.5)
    ends = began + 3 * 365 * DAY
    while ends < world.now and world.chance(0.9):  # it was renewed
        ends += 365 * DAY
    cycle = dice.choices(world.refs["/finance/billingCycles"], (12, 3, 2, 1))[0]
    monthly = max(150.0, company.labour * dice.uniform(0.9, 2.6))
    amount = round(monthly * _CYCLE_MONTHS[cycle.name], 2)
    name = f"{kind.name} - {company.identifier}"
    yes_no = {name: world.chance(0.5) for name in _COVERS}
    record = {
        "id": record_id,
        "name": name,
        "type": kind.raw,
        "company": company.ref.raw,
        "contact": company.contacts[0].raw,
        "site": company.site.raw,
        "location": world.raw("/system/locations"),
        "department": world.raw("/system/departments"),
        "restrictLocationFlag": False,
        "restrictDepartmentFlag": False,
        "startDate": day(began),
        "endDate": None if endless else day(ends),
        "noEndingDateFlag": endless,
        "cancelledFlag": cancelled,
        "dateCancelled": day(ended) if ended else None,
        "reasonCancelled": "Went elsewhere" if cancelled else None,
        "applicationUnits": "Hours",
        "applicationLimit": float(dice.randint(5, 60)),
        "applicationCycle": "CalendarMonth",
        "applicationUnlimitedFlag": world.chance(0.3),
        "oneTimeFlag": False,
        "employeeCompRate": "Hourly",
        "employeeCompNotExceed": "Billing",
        "compHourlyRate": 0.0,
        "billingCycle": cycle.raw,
        "billOneTimeFlag": False,
        "billingTerms": world.raw("/finance/billingTerms"),
        "invoicingCycle": "CalendarYear",
        "billToCompany": company.ref.raw,
        "billAmount": amount,
        "billStartDate": day(began),
        "taxCode": world.raw("/finance/taxCodes"),
        "billTime": "NoDefault",
        "billExpenses": "NoDefault",
        "billProducts": "NoDefault",
        "currency": world.refs["/finance/currencies"][0].raw,
        "nextInvoiceDate": day(world.now + 20 * DAY),
        "agreementStatus": "Cancelled" if cancelled else "Active",
        **yes_no,
        "customFields": dice.choice(world.custom["agreement"]),
        "_info": {"createdDate": iso(began), "createdBy": world.by[0]},
    }
    world.put(AGREEMENTS, record, began, ended or world.when(began))
    company.recurring = monthly
    for _ in range(dice.randint(0, 5)):
        company.recurring += _addition(world, record_id, began, ended)
    company.agreed = (began, min(ended or world.now, world.now if endless else ends))
    if world.chance(0.2):
        _adjustment(world, record_id, began)
    return reference(AGREEMENTS, "agreement", record_id, name, type=kind.name, chargeFirmFlag=False)


def _addition(world: World, agreement_id: int, began: int, ended: int | None) -> float:
    """Adds something to an agreement: what a month of it is billed at, on average."""
    dice = world.dice
    if world.chance(0.5):  # the client grew
        began = world.when(began, min(ended or world.now, world.now)) // DAY * DAY
    quantity, price = float(dice.randint(1, 40)), money(dice, 2, 90)
    cost = round(price * 0.6, 2)
    left = ended or (world.when(began) if world.chance(0.15) else None)
    product = world.any("/procurement/catalog")
    record = {
        "id": world.next_id("additions"),
        "product": product.raw,
        "quantity": quantity,
        "lessIncluded": 0.0,
        "unitPrice": price,
        "unitCost": cost,
        "billCustomer": dice.choices(("Billable", "DoNotBill", "NoCharge"), (18, 1, 1))[0],
        "effectiveDate": day(began),
        "cancelledDate": day(left) if left else None,
        "taxableFlag": True,
        "serialNumber": "",
        "invoiceDescription": product.name,
        "purchaseItemFlag": False,
        "specialOrderFlag": False,
        "agreementId": agreement_id,
        "description": product.name,
        "billedQuantity": quantity,
        "uom": "Each",
        "extPrice": round(quantity * price, 2),
        "extCost": round(quantity * cost, 2),
        "sequenceNumber": 1.0,
        "margin": round(quantity * (price - cost), 2),
        "prorateCost": 0.0,
        "proratePrice": 0.0,
        "agreementStatus": "Cancelled" if ended else "Active",
    }
    world.put(f"{AGREEMENTS}/{agreement_id}/additions", record, began, left or world.when(began))
    is_billed = record["billCustomer"] == "Billable" and left is None
    return quantity * price if is_billed else 0.0


def _adjustment(world: World, agreement_id: int, began: int) -> None:
    record = {
        "id": world.next_id("agreementAdjustments"),
        "amount": -money(world.dice, 10, 300),
        "description": "Goodwill",
        "effectiveDate": day(world.when(began)),
        "agreementId": agreement_id,
    }
    world.put(f"{AGREEMENTS}/{agreement_id}/adjustments", record, world.when(began))


def invoices(world: World) -> None:
    """A quarterly invoice for each company, a credit memo now and then."""
    for at, company in enumerate(world.companies):
        pays_late = at % _SLOW[0] == _SLOW[1]
        moment = world.start + world.dice.randrange(2 * 365) * DAY
        billed_to = moment - _INVOICE_DAYS * DAY
        while moment < world.now:
            _invoice(world, company, moment, (moment - billed_to) / _MONTH, pays_late=pays_late)
            billed_to = moment
            moment += (_INVOICE_DAYS + world.dice.randrange(200)) * DAY


def _invoice(
    world: World, company: Company, moment: int, months: float, *, pays_late: bool
) -> None:
    """An invoice for so many months: of the agreement, or else of the work that was done."""
    dice = world.dice
    credit = len(world.refs.get(INVOICES, ())) % _CREDIT == 0
    first, last = company.agreed
    agreed = company.agreement is not None and first < moment <= last
    monthly = company.recurring if agreed else company.labour * _MARKUP * dice.uniform(0.7, 1.3)
    total = -money(dice, 20, 400) if credit else round(max(150.0, monthly * months), 2)
    age = world.now - moment
    late = pays_late and age < _SLOW_DAYS * DAY
    paid = not late and world.chance(next((p for days, p in _PAID if age > days * DAY), 0.0))
    due = moment + 30 * DAY
    record_id = world.next_id(INVOICES, 90)
    number = f"INV{record_id:06d}"
    terms, statuses = world.refs["/finance/billingTerms"], world.refs["/finance/billingStatuses"]
    amounts = _amounts(total, agreed=agreed, paid=paid)
    record: dict[str, Any] = {
        "id": record_id,
        "invoiceNumber": number,
        "type": "CreditMemo" if credit else "Agreement" if agreed else "Standard",
        "status": {
            "id": statuses[2 if paid else 1].id,
            "name": statuses[2 if paid else 1].name,
            "isClosed": paid,
        },
        "company": company.ref.raw,
        "billToCompany": company.ref.raw,
        "shipToCompany": company.ref.raw,
        "accountNumber": f"{10000 + company.ref.id}",
        "applyToType": "Agreement" if agreed else "All",
        "applyToId": company.agreement.id if agreed and company.agreement else None,
        "attention": company.contacts[0].name,
        "billingSite": company.site.raw,
        "billingTerms": next(t.raw for t in terms if t.name == "Net 30"),
        "reference": "",
        "templateSetupId": 1,
        "addToBatchEmailList": False,
        "date": day(moment),
        "dueDate": day(due),
        "restrictDownpaymentFlag": False,
        "locationId": 1,
        "location": world.raw("/system/locations"),
        "departmentId": 1,
        "department": world.raw(UNITS),
        "territoryId": 1,
        "territory": world.raw("/system/locations"),
        "topComment": "",
        "bottomComment": "",
        "taxableFlag": True,
        "taxCode": world.raw("/finance/taxCodes"),
        "downpaymentPreviouslyTaxedFlag": False,
        **amounts,
        "specialInvoiceFlag": False,
        "currency": world.refs["/finance/currencies"][0].raw,
        "agreement": company.agreement.raw if agreed and company.agreement else None,
    }
    entered = moment + 9 * HOUR
    settled = min(due + dice.randrange(20) * DAY, world.now) if paid else entered
    world.put(INVOICES, record, entered, settled)
    made = reference(INVOICES, "invoice", record_id, number, identifier=number)
    world.refs.setdefault(INVOICES, []).append(made)
    if paid and not credit:
        _payment(world, made, amounts["total"], settled)


def _amounts(total: float, *, agreed: bool, paid: bool) -> dict[str, float]:
    """The totals of an invoice, which add up."""
    tax = round(total * 0.06, 2)
    gross = round(total + tax, 2)
    return {
        "serviceTotal": 0.0 if agreed else total,
        "expenseTotal": 0.0,
        "productTotal": 0.0,
        "agreementAmount": total if agreed else 0.0,
        "serviceAdjustmentAmount": 0.0,
        "downpaymentApplied": 0.0,
        "subtotal": total,
        "salesTax": tax,
        "total": gross,
        "payments": gross if paid else 0.0,
        "credits": 0.0,
        "balance": 0.0 if paid else gross,
    }


def _payment(world: World, invoice: Ref, amount: float, settled: int) -> None:
    record = {
        "id": world.next_id("payments"),
        "type": "Check",
        "source": "Default",
        "invoice": invoice.raw,
        "amount": amount,
        "balance": 0.0,
        "paymentDate": day(settled),
        "appliedBy": world.by[0],
    }
    world.put(f"{INVOICES}/{invoice.id}/payments", record, settled)
