"""The set-up tables: short lists that everything else refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

# path, the reference's kind, the fields (`?` marks a flag), one row per line.
_TABLES: tuple[tuple[str, str, str, str], ...] = (
    ("/company/companies/statuses", "status", "name|defaultFlag?|inactiveFlag?",
     "Active|1|0;Inactive|0|1;Prospect|0|0;Past Due|0|0"),
    ("/company/companies/types", "type", "name|defaultFlag?|vendorFlag?",
     "Client|1|0;Prospect|0|0;Vendor|0|1;Owner|0|0;Former Client|0|0"),
    ("/company/contacts/types", "type", "description|defaultFlag?",
     "End User|1;Decision Maker|0;Billing|0;Approver|0"),
    ("/company/contacts/departments", "department", "name", "Finance;IT;Operations;Sales"),
    ("/company/contacts/relationships", "relationship", "name", "Client;Vendor;Partner"),
    ("/company/communicationTypes", "type",
     "description|phoneFlag?|faxFlag?|emailFlag?|defaultFlag?",
     "Email|0|0|1|1;Direct|1|0|0|1;Fax|0|1|0|1;Cell|1|0|0|0"),
    ("/company/configurations/statuses", "status", "description|closedFlag?|defaultFlag?",
     "Active|0|1;Inactive|1|0;In Repair|0|0"),
    ("/company/configurations/types", "type", "name|inactiveFlag?|systemFlag?",
     "Managed Workstation|0|0;Managed Server|0|0;Network Device|0|0;Printer|0|0;Licence|1|0"),
    ("/company/countries", "country", "countryCode|name|defaultFlag?",
     "US|United States|1;CA|Canada|0;GB|United Kingdom|0;DE|Germany|0;AU|Australia|0"),
    ("/company/states", "state", "identifier|name", "FL|Florida;TX|Texas;QC|Québec;WA|Washington"),
    ("/company/marketDescriptions", "market", "name", "Healthcare;Legal;Manufacturing;Education"),
    ("/company/ownershipTypes", "ownershipType", "name", "Public;Private;Non-Profit"),
    ("/company/noteTypes", "type", "identifier|name|defaultFlag?",
     "Comment|Comments|1;Acct|Account Alert|0"),
    ("/company/teamRoles", "teamRole", "name|accountManagerFlag?|techFlag?|salesFlag?",
     "Account Manager|1|0|0;Lead Tech|0|1|0;Sales|0|0|1"),
    ("/expense/classifications", "classification", "name|companyFlag?|employeeFlag?",
     "Personal|0|1;Company|1|0"),
    ("/expense/paymentTypes", "paymentType", "name|defaultFlag?",
     "Cash|1;Credit Card|0;Company Card|0"),
    ("/expense/types", "type", "name|amountCaption|billExpenses|mileageFlag?|inactiveFlag?",
     ("Mileage|Miles|Billable|1|0;Meals|Amount|NoCharge|0|0;Hotel|Amount|Billable|0|0;"
      "Parking|Amount|DoNotBill|0|0;Airfare|Amount|Billable|0|1")),
    ("/finance/agreements/types", "type",
     "name|applicationUnits|applicationCycle|prePaymentFlag?|inactiveFlag?",
     ("Managed Services|Hours|CalendarMonth|0|0;Block Hours|Hours|ContractYear|1|0;"
      "Cloud Hosting|Amount|CalendarMonth|0|0;Break/Fix|Incidents|CalendarMonth|0|0")),
    ("/finance/billingCycles", "billingCycle", "identifier|name|billingOptions|defaultFlag?",
     "M|Monthly|Monthly|1;Q|Quarterly|Quarterly|0;Y|Yearly|Yearly|0;S|Semi-annual|SemiAnnual|0"),
    ("/finance/billingStatuses", "status", "name|sortOrder#|closedFlag?|sentFlag?|defaultFlag?",
     "New|1|0|0|1;Sent|2|0|1|0;Paid|3|1|1|0;Written Off|4|1|0|0"),
    ("/finance/billingTerms", "billingTerms", "name|dueDays#|defaultFlag?",
     "Due on Receipt|0|0;Net 15|15|0;Net 30|30|1;Net 60|60|0"),
    ("/finance/deliveryMethods", "deliveryMethod", "name|emailFlag?|defaultFlag?",
     "Mail|0|0;Email|1|1"),
    ("/finance/taxCodes", "taxCode",
     "identifier|description|levelOneRate#|levelOneRateType|defaultFlag?",
     "FL|Florida sales tax|0.06|Percent|1;NONE|No tax|0|Percent|0;DE19|USt 19 %|0.19|Percent|0"),
    ("/marketing/campaigns/statuses", "status", "name|defaultFlag?|inactiveFlag?",
     "Planned|1|0;Running|0|0;Done|0|1"),
    ("/marketing/campaigns/types", "type", "name|defaultFlag?", "Email|1;Event|0;Webinar|0"),
    ("/marketing/groups", "group", "name|publicFlag?|inactiveFlag?",
     "Newsletter|1|0;Top 50|0|0;Old List|0|1"),
    ("/procurement/categories", "category", "name|inactiveFlag?|defaultFlag?",
     "Hardware|0|1;Software|0|0;Services|0|0;Legacy|1|0"),
    ("/procurement/manufacturers", "manufacturer", "name|inactiveFlag?",
     "Dell|0;Lenovo|0;Fortinet|0;Microsoft|0;Palm|1"),
    ("/procurement/types", "type", "name|typeXref|inactiveFlag?|defaultFlag?",
     ("Inventory|InventoryPart|0|1;Non-Inventory|NonInventoryPart|0|0;Agreement|OtherCharge|0|0;"
      "Service|Service|0|0")),
    ("/procurement/unitOfMeasures", "uom", "name|inactiveFlag?|defaultFlag?",
     "Each|0|1;Hour|0|0;Month|0|0"),
    ("/procurement/warehouses", "warehouse", "name|overallDefaultFlag?|inactiveFlag?",
     "Tampa|1|0;Van 1|0|0"),
    ("/procurement/adjustments/types", "adjustmentType", "identifier|name|auditTrailFlag?",
     "CNT|Count|1;BRK|Breakage|1"),
    ("/procurement/purchaseorderstatuses", "status", "name|sortOrder#|closedFlag?|defaultFlag?",
     "New|1|0|1;Ordered|2|0|0;Received|3|1|0;Cancelled|4|1|0"),
    ("/project/phaseStatuses", "status", "name|closedFlag?|defaultFlag?|inactiveFlag?",
     "Open|0|1|0;Closed|1|0|0"),
    ("/project/projectTypes", "type", "name|defaultFlag?|inactiveFlag?",
     "Implementation|1|0;Migration|0|0;Internal|0|0"),
    ("/project/statuses", "status", "name|closedFlag?|noTimeFlag?|defaultFlag?",
     "Open|0|0|1;In Progress|0|0|0;On Hold|0|1|0;Closed|1|1|0"),
    ("/sales/activities/statuses", "status", "name|closedFlag?|defaultFlag?|inactiveFlag?",
     "Open|0|1|0;Closed|1|0|0"),
    ("/sales/activities/types", "type", "name|points#|defaultFlag?|inactiveFlag?|emailFlag?",
     "Call|1|1|0|0;Meeting|5|0|0|0;Email|1|0|0|1;Fax|0|0|1|0"),
    ("/sales/opportunities/statuses", "status", "name|wonFlag?|lostFlag?|closedFlag?|defaultFlag?",
     "Open|0|0|0|1;Won|1|0|1|0;Lost|0|1|1|0;No Decision|0|0|1|0"),
    ("/sales/opportunities/types", "type", "description|inactiveFlag?",
     "New Business|0;Renewal|0;Upsell|0"),
    ("/sales/opportunities/ratings", "rating", "name|sortOrder#", "Hot|1;Warm|2;Cold|3"),
    ("/sales/orders/statuses", "status", "name|sortOrder#|closedFlag?|defaultFlag?",
     "Open|1|0|1;Shipped|2|0|0;Closed|3|1|0"),
    ("/sales/probabilities", "probability", "probability#", "10;25;50;75;90;100"),
    ("/sales/roles", "role", "name", "Account Executive;Sales Engineer"),
    ("/sales/salesTeams", "salesTeam", "salesTeamIdentifier|salesTeamDescription|inactiveFlag?",
     "EAST|East Coast|0;INTL|International|0"),
    ("/schedule/statuses", "status", "name|defaultFlag?|showAsTentativeFlag?",
     "Firm|1|0;Tentative|0|1"),
    ("/schedule/types", "scheduleType", "name|identifier|systemFlag?",
     "Service|S|1;Activity|C|1;Time Off|T|0;Holiday|H|0"),
    ("/service/impacts", "impact", "name|description|defaultFlag?",
     "High|Everybody|0;Medium|A department|1;Low|One person|0"),
    ("/service/severities", "severity", "name|description|defaultFlag?",
     "High|Work has stopped|0;Medium|Work is hard|1;Low|A wish|0"),
    ("/service/locations", "location", "name|where|defaultFlag?",
     "Remote|Remote|1;On-Site|OnSite|0;In-House|InHouse|0"),
    ("/service/priorities", "priority", "name|color|sortOrder#|level|defaultFlag?",
     ("Priority 1 - Critical|Red|1|Critical|0;Priority 2 - High|Orange|2|High|0;"
      "Priority 3 - Medium|Yellow|3|Medium|1;Priority 4 - Low|Green|4|Low|0")),
    ("/service/sources", "source", "name|defaultFlag?",
     "Phone|1;Email Connector|0;Portal|0;Monitoring|0"),
    ("/system/departments", "department", "identifier|name",
     "SVC|Services;PRO|Professional Services;SAL|Sales;ADM|Administration"),
    ("/system/locations", "location", "name|locationFlag?|clientFlag?",
     "Tampa Office|1|0;London Office|1|0;Zürich Büro|1|0"),
    ("/system/members/types", "type", "name|inactiveFlag?", "Employee|0;Contractor|0;Former|1"),
    ("/system/timeZoneSetups", "timeZoneSetup", "name|offset#|defaultFlag?",
     ("US Eastern|-5|1;London|0|0;"
      "Zürich|1|0")),
    ("/time/workRoles", "workRole", "name|hourlyRate#|inactiveFlag?",
     "Engineer|120|0;Senior Engineer|165.5|0;Project Manager|150|0;Junior|85|0;Trainer|100|1"),
    ("/time/workTypes", "workType", "name|billTime|rateType|rate#|utilizationFlag?|inactiveFlag?",
     ("Remote|Billable|Multiplier|1|1|0;On-Site|Billable|Multiplier|1|1|0;"
      "After Hours|Billable|Multiplier|1.5|1|0;Training|DoNotBill|Multiplier|0|0|0;"
      "Courtesy|NoCharge|Multiplier|1|1|0")),
)  # fmt: skip


def make(world: World) -> None:
    """Fills every set-up table, and the one that carries no stamps."""
    for path, kind, heads, lines in _TABLES:
        world.lookups(path, kind, [_row(heads, line) for line in lines.split(";")])
    _dependent(world)
    for at, name in enumerate(("Tax Exempt", "Government", "Résident"), start=1):
        record = {"id": at, "name": name, "code": name[:1]}
        world.put("/company/entityTypes", record, entered=None)


def _dependent(world: World) -> None:
    """Set-up tables whose rows refer to those of another."""
    for category in world.refs["/procurement/categories"]:
        row = {"name": f"{category.name} - General", "category": category.raw}
        world.lookups("/procurement/subcategories", "subcategory", [row])
    for kind in world.refs["/marketing/campaigns/types"]:
        row = {"name": f"{kind.name}, small", "type": kind.raw}
        world.lookups("/marketing/campaigns/subTypes", "subType", [row])
    chances = world.refs["/sales/probabilities"]
    for at, name in enumerate(("Lead", "Qualified", "Quoted", "Negotiating", "Closing")):
        stage = {"name": name, "sequenceNumber": at + 1, "color": "#336699"}
        chance = {"id": chances[at].id, "name": str((10, 25, 50, 75, 90)[at])}
        world.lookups("/sales/stages", "stage", [{**stage, "probability": chance}])
    accounts = ("4000", "4100", "5000")
    rows = [{"glType": "R", "segment1": each, "salesCode": ""} for each in accounts]
    world.lookups("/finance/glAccounts", "glAccount", rows)
    accrued = {"vacationFlag": True, "sickFlag": True, "ptoFlag": False, "holidayFlag": True}
    world.lookups("/time/accruals", "accrual", [accrued])
    period = {
        "periodApplyTo": "Both",
        "type": "Weekly",
        "description": "Weekly",
        "daysPastEndDate": 2,
    }
    years = [{"year": 2022 + at, **period} for at in range(5)]
    world.lookups("/time/timePeriodSetups", "timePeriodSetup", years)


def _row(heads: str, line: str) -> dict[str, Any]:
    return {
        head.rstrip("?#"): _value(head, text)
        for head, text in zip(heads.split("|"), line.split("|"), strict=True)
    }


def _value(head: str, text: str) -> object:
    if head.endswith("?"):
        return text == "1"
    if head.endswith("#"):
        return float(text) if "." in text else int(text)
    return text
