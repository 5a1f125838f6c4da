"""What is sold and bought: the catalog, products on tickets and orders, purchase orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.simulator.seed.hours import billed_by
from cw_pipeline.simulator.seed.people import UNITS
from cw_pipeline.simulator.seed.words import PRODUCTS
from cw_pipeline.simulator.seed.world import DAY, Ref, day, iso, money

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

ORDERS = "/procurement/purchaseorders"


def catalog(world: World) -> None:
    """Everything that is sold; agreements need it first."""
    path = "/procurement/catalog"
    for at, name in enumerate(PRODUCTS):
        record_id = world.next_id(path, 21)
        price = money(world.dice, 4, 1500)
        record = {
            "id": record_id,
            "identifier": name.replace(" ", "-").upper(),
            "description": name,
            "inactiveFlag": at % 8 == 1,
            "subcategory": world.raw("/procurement/subcategories"),
            "category": world.raw("/procurement/categories"),
            "type": world.raw("/procurement/types"),
            "productClass": ("Inventory", "Agreement", "NonInventory", "Service")[at % 4],
            "serializedFlag": at % 5 == 0,
            "phaseProductFlag": False,
            "unitOfMeasure": world.raw("/procurement/unitOfMeasures"),
            "minStockLevel": 0,
            "price": price,
            "cost": round(price * 0.7, 2),
            "taxableFlag": True,
            "dropShipFlag": False,
            "specialOrderFlag": False,
            "customerDescription": f"{name}\n(per unit)",
            "manufacturer": world.raw("/procurement/manufacturers"),
            "manufacturerPartNumber": f"MPN-{at:04d}",
            "vendorSku": "",
            "notes": "",
            "recurringFlag": at % 4 == 1,
            "recurringRevenue": price,
            "recurringCost": round(price * 0.7, 2),
            "recurringOneTimeFlag": False,
            "recurringBillCycle": world.raw("/finance/billingCycles"),
            "recurringCycleType": "CalendarYear",
        }
        world.put(path, record, world.start, world.when())
        world.refer(path, "catalog", record_id, name, identifier=record["identifier"])


def products(world: World) -> None:
    """A product on every tenth ticket."""
    path = "/procurement/products"
    for ticket in world.tickets[::10]:
        dice = world.dice
        item = world.any("/procurement/catalog")
        quantity, price = float(dice.randint(1, 6)), money(dice, 5, 900)
        sold = world.when(ticket.entered, ticket.last)
        invoiced = world.chance(billed_by(world.now - sold, 0.3))
        record = {
            "id": world.next_id(path, 61),
            "catalogItem": item.raw,
            "description": item.name,
            "sequenceNumber": 1.0,
            "quantity": quantity,
            "unitOfMeasure": world.raw("/procurement/unitOfMeasures"),
            "price": price,
            "cost": round(price * 0.7, 2),
            "extPrice": round(price * quantity, 2),
            "extCost": round(price * quantity * 0.7, 2),
            "discount": 0.0,
            "margin": round(price * quantity * 0.3, 2),
            "agreementAmount": 0.0,
            "billableOption": "Billable",
            "locationId": 1,
            "businessUnitId": 1,
            "vendorSku": "",
            "taxableFlag": True,
            "dropshipFlag": False,
            "specialOrderFlag": False,
            "phaseProductFlag": False,
            "cancelledFlag": world.chance(0.03),
            "customerDescription": item.name,
            "productSuppliedFlag": True,
            "ticket": ticket.ref.raw,
            "company": ticket.company.ref.raw,
            "invoice": world.raw("/finance/invoices") if invoiced else None,
            "warehouse": "Tampa",
            "warehouseBin": "Default",
            "purchaseDate": day(sold),
            "taxCode": world.raw("/finance/taxCodes"),
            "productClass": "NonInventory",
            "needToPurchaseFlag": False,
            "listPrice": price,
            "serialNumbers": [],
        }
        world.put(path, record, sold)


def purchase_orders(world: World) -> None:
    """Bins, and an order for every 200 tickets, with one to four lines each."""
    bins = "/procurement/warehouseBins"
    for at, warehouse in enumerate(world.refs["/procurement/warehouses"]):
        world.lookups(
            bins, "bin", [{"name": f"Bin {at}", "warehouse": warehouse.raw, "quantityOnHand": at}]
        )
    counted = {"identifier": "Count 2024", "reason": "Yearly count", "closedFlag": True}
    kind = world.raw("/procurement/adjustments/types")
    made = {"id": 1, **counted, "type": kind, "closedBy": world.by[0], "adjustmentDetails": []}
    world.put("/procurement/adjustments", made, world.start)
    for _ in range(max(5, world.tickets_wanted // 200)):
        _order(world)


def _order(world: World) -> None:
    dice = world.dice
    record_id, placed = world.next_id(ORDERS, 400), world.when()
    closed = placed < world.now - 30 * DAY
    statuses = world.refs["/procurement/purchaseorderstatuses"]
    lines = dice.randint(1, 4)
    total = sum(_line(world, record_id, at, placed, closed=closed) for at in range(1, lines + 1))
    vendor = world.company()
    record = {
        "id": record_id,
        "businessUnitId": 1,
        "businessUnit": world.raw(UNITS),
        "closedFlag": closed,
        "dateClosed": iso(placed + 20 * DAY) if closed else None,
        "dropShipCustomerFlag": False,
        "enteredBy": world.by[0],
        "freightCost": 0.0,
        "freightTaxTotal": 0.0,
        "internalNotes": "",
        "locationId": 1,
        "location": world.raw("/system/locations"),
        "poDate": day(placed),
        "poNumber": f"PO{record_id}",
        "salesTax": 0.0,
        "status": statuses[2 if closed else 1].raw,
        "subTotal": round(total, 2),
        "taxCode": world.raw("/finance/taxCodes"),
        "terms": world.raw("/finance/billingTerms"),
        "total": round(total, 2),
        "trackingNumber": "",
        "vendorCompany": vendor.ref.raw,
        "vendorContact": vendor.contacts[0].raw,
        "warehouse": world.raw("/procurement/warehouses"),
        "currency": world.refs["/finance/currencies"][0].raw,
    }
    world.put(ORDERS, record, placed, placed + 20 * DAY if closed else None)


def _line(world: World, order_id: int, number: int, placed: int, *, closed: bool) -> float:
    """One line; returns what it costs."""
    item: Ref = world.any("/procurement/catalog")
    quantity, cost = float(world.dice.randint(1, 9)), money(world.dice, 5, 700)
    record = {
        "id": world.next_id("lineitems"),
        "backorderedFlag": False,
        "canceledFlag": False,
        "closedFlag": closed,
        "description": item.name,
        "lineNumber": number,
        "product": item.raw,
        "purchaseOrderId": order_id,
        "purchaseOrderNumber": f"PO{order_id}",
        "quantity": quantity,
        "receivedQuantity": int(quantity) if closed else 0,
        "receivedStatus": "FullyReceived" if closed else "Waiting",
        "serialNumbers": "",
        "dateReceived": iso(placed + 9 * DAY) if closed else None,
        "tax": 0.0,
        "unitCost": cost,
        "extCost": round(cost * quantity, 2),
        "unitOfMeasure": world.raw("/procurement/unitOfMeasures"),
        "vendorOrderNumber": "",
    }
    updated = placed + 9 * DAY if closed else None
    world.put(f"{ORDERS}/{order_id}/lineitems", record, placed, updated)
    return cost * quantity
