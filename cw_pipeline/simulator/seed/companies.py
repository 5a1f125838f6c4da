"""Companies with their sites, contacts and configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.seed.people import MEMBERS
from cw_pipeline.simulator.seed.words import (
    CITIES,
    FIRST,
    LAST,
    NOTES,
    STREETS,
    THINGS,
    TRADES,
    split_words,
)
from cw_pipeline.simulator.seed.world import BASE, DAY, Company, Ref, day, guid, iso, money

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

COMPANIES = "/company/companies"
CONTACTS = "/company/contacts"
CONFIGURATIONS = "/company/configurations"
_LINKS = split_words(
    "contacts agreements tickets opportunities activities projects configurations orders "
    "documents sites teams reports notes"
)


def make(world: World) -> None:
    """A company for every fifty tickets, at least ten; some are deleted or former clients."""
    for number in range(max(10, world.tickets_wanted // 50)):
        _company(world, number)


def _company(world: World, number: int) -> None:
    dice = world.dice
    name = f"{dice.choice(LAST)} {dice.choice(TRADES)} {number}"
    record_id = world.next_id(COMPANIES, 2)
    identifier = f"{name.partition(' ')[0][:8]}{number}".replace("'", "")
    mobile = guid(dice)
    ref = world.refer(
        COMPANIES, "company", record_id, name, identifier=identifier, info={"mobileGuid": mobile}
    )
    entered = world.when(world.start, world.start + 3 * 365 * DAY)
    sites = [_site(world, ref, at, entered) for at in range(1 + (number % 3 == 0))]
    contacts = [_contact(world, ref, sites[0], at) for at in range(dice.randint(1, 5))]
    company = Company(ref, sites[0], contacts, identifier, billable=number % 11 != 0)
    # A deleted company stays in the list; nothing new refers to it.
    deleted = number % 9 == 1
    record = _fields(world, company, mobile, entered)
    if deleted:
        record |= {
            "deletedFlag": True,
            "dateDeleted": iso(world.when(entered)),
            "deletedBy": world.by[0],
        }
    else:
        world.companies.append(company)
    world.put(COMPANIES, record, entered, world.when(entered))
    kind = {"type": world.raw("/company/companies/types"), "company": ref.raw}
    associated = {"id": world.next_id("companyTypes"), **kind}
    world.put("/company/companyTypeAssociations", associated, entered)
    for at in range(dice.randint(0, 3)):
        _configuration(world, company, at)


def _fields(world: World, company: Company, mobile: str, entered: int) -> dict[str, Any]:
    dice = world.dice
    host = company.identifier.lower()
    return {
        "id": company.ref.id,
        "identifier": company.identifier,
        "name": company.ref.name,
        "status": world.raw("/company/companies/statuses"),
        "addressLine1": f"{dice.randint(1, 999)} {dice.choice(STREETS)}",
        "city": dice.choice(CITIES),
        "state": "FL",
        "zip": f"{dice.randint(10000, 99999)}",
        "country": world.raw("/company/countries"),
        "phoneNumber": f"813{dice.randint(1000000, 9999999)}",
        "faxNumber": "",
        "website": f"www.{host}.example.com",
        "territory": world.raw("/system/locations"),
        "market": world.raw("/company/marketDescriptions") if world.chance(0.6) else None,
        "accountNumber": f"{10000 + company.ref.id}",
        "defaultContact": company.contacts[0].raw,
        # Local midnight in UTC, as the real one sends it.
        "dateAcquired": iso(entered // DAY * DAY + 4 * 3600),
        "annualRevenue": money(dice, 1e5, 5e7),
        "numberOfEmployees": dice.randint(3, 900),
        "timeZoneSetup": world.raw("/system/timeZoneSetups"),
        "leadFlag": False,
        "unsubscribeFlag": False,
        "userDefinedField1": "",
        "taxIdentifier": "",
        "taxCode": world.raw("/finance/taxCodes"),
        "billingTerms": world.raw("/finance/billingTerms"),
        "billToCompany": company.ref.raw,
        "billingSite": company.site.raw,
        "billingContact": company.contacts[0].raw,
        "invoiceDeliveryMethod": world.raw("/finance/deliveryMethods"),
        "invoiceToEmailAddress": f"billing@{host}.example.com",
        "deletedFlag": False,
        "mobileGuid": mobile,
        "currency": world.refs["/finance/currencies"][0].raw,
        "territoryManager": world.raw(MEMBERS),
        "isVendorFlag": company.ref.id % 9 == 0,
        "types": [world.raw("/company/companies/types")],
        "site": company.site.raw,
        "customFields": dice.choice(world.custom["company"]),
        "_info": {f"{each}_href": f"{BASE}{COMPANIES}/{company.ref.id}/{each}" for each in _LINKS},
    }


def _site(world: World, company: Ref, at: int, entered: int) -> Ref:
    path = f"{COMPANIES}/{company.id}/sites"
    record_id, mobile = world.next_id("sites", 11), guid(world.dice)
    name = ("Main", "Warehouse")[at]
    record = {
        "id": record_id,
        "name": name,
        "addressLine1": f"{world.dice.randint(1, 999)} {world.dice.choice(STREETS)}",
        "city": world.dice.choice(CITIES),
        "stateReference": world.raw("/company/states"),
        "zip": f"{world.dice.randint(10000, 99999)}",
        "country": world.raw("/company/countries"),
        "addressFormat": "USFormat",
        "phoneNumber": "",
        "taxCode": world.raw("/finance/taxCodes"),
        "expenseReimbursement": 0.0,
        "primaryAddressFlag": at == 0,
        "defaultShippingFlag": at == 0,
        "defaultBillingFlag": at == 0,
        "defaultMailingFlag": at == 0,
        "inactiveFlag": False,
        "billSeparateFlag": False,
        "mobileGuid": mobile,
        "company": company.raw,
    }
    world.put(path, record, entered, world.when(entered))
    return world.refer("sites", "site", record_id, name, info={"mobileGuid": mobile})


def _contact(world: World, company: Ref, site: Ref, at: int) -> Ref:
    dice = world.dice
    first, last = dice.choice(FIRST), dice.choice(LAST)
    record_id, mobile = world.next_id(CONTACTS, 31), guid(dice)
    entered = world.when()
    address = f"{first}.{last}@{company.id}.example.com".lower()
    record = {
        "id": record_id,
        "firstName": first,
        "lastName": None if world.chance(0.03) else last,
        "company": company.raw,
        "site": site.raw,
        "relationshipOverride": "",
        "inactiveFlag": world.chance(0.12),
        "title": dice.choice(("Office Manager", "CFO", "", "IT-Leiterin")),
        "marriedFlag": False,
        "childrenFlag": False,
        "portalSecurityLevel": 5,
        "disablePortalLoginFlag": True,
        "unsubscribeFlag": world.chance(0.1),
        "mobileGuid": mobile,
        "defaultPhoneType": "Direct",
        "defaultPhoneNbr": f"813{dice.randint(1000000, 9999999)}",
        "defaultBillingFlag": at == 0,
        "defaultFlag": at == 0,
        "companyLocation": world.raw("/system/locations"),
        "communicationItems": _communications(world, address),
        "types": [world.raw("/company/contacts/types")] if world.chance(0.5) else [],
        "customFields": dice.choice(world.custom["contact"]),
        "ignoreDuplicates": False,
    }
    world.put(CONTACTS, record, entered, world.when(entered))
    if record["types"]:
        made = {"id": world.next_id("contactTypes"), "type": world.raw("/company/contacts/types")}
        contact = {"id": record_id, "name": f"{first} {last}"}
        world.put("/company/contactTypeAssociations", {**made, "contact": contact}, entered)
    return world.refer(
        CONTACTS, "contact", record_id, f"{first} {last}", info={"mobileGuid": mobile}
    )


def _communications(world: World, address: str) -> list[dict[str, Any]]:
    email, phone = world.refs["/company/communicationTypes"][:2]
    items = [
        {
            "id": world.next_id("communications"),
            "type": email.raw,
            "value": address,
            "defaultFlag": True,
            "domain": "@" + address.partition("@")[2],
            "communicationType": "Email",
        }
    ]
    if world.chance(0.6):
        items.append(
            {
                "id": world.next_id("communications"),
                "type": phone.raw,
                "value": f"813{world.dice.randint(1000000, 9999999)}",
                "extension": "",
                "defaultFlag": True,
                "communicationType": "Phone",
            }
        )
    return items


def _configuration(world: World, company: Company, at: int) -> None:
    dice = world.dice
    bought = world.when()
    active = world.chance(0.85)
    statuses = world.refs["/company/configurations/statuses"]
    record = {
        "id": world.next_id(CONFIGURATIONS, 5),
        "name": f"{company.identifier}-{dice.choice(THINGS)}-{at}",
        "type": world.raw("/company/configurations/types"),
        "status": statuses[0 if active else 1].raw,
        "company": company.ref.raw,
        "contact": company.contacts[0].raw,
        "site": company.site.raw,
        "locationId": 1,
        "businessUnitId": 1,
        "deviceIdentifier": "",
        "serialNumber": f"SN{dice.getrandbits(40):X}",
        "modelNumber": "",
        "tagNumber": f"T-{dice.randint(1, 9999)}",
        "purchaseDate": day(bought),
        "installationDate": day(bought + 7 * DAY),
        "warrantyExpirationDate": day(bought + 3 * 365 * DAY),
        "notes": dice.choice(NOTES),
        "macAddress": "",
        "ipAddress": f"10.0.{dice.randint(0, 9)}.{dice.randint(2, 250)}",
        "osType": "Windows",
        "billFlag": world.chance(0.5),
        "questions": [{"answerId": 1, "questionId": 4, "sequenceNumber": 1.0, "answer": "yes"}],
        "manufacturer": world.raw("/procurement/manufacturers"),
        "activeFlag": active,
        "mobileGuid": guid(dice),
        "displayVendorFlag": False,
        "companyLocationId": 1,
        "needsRenewalFlag": False,
        "customFields": dice.choice(world.custom["configuration"]),
    }
    world.put(CONFIGURATIONS, record, bought, world.when(bought))
