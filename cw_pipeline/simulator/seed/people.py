"""Members, with locations, calendars, currencies and charge codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cw_pipeline.simulator.seed.words import FIRST, LAST
from cw_pipeline.simulator.seed.world import BASE, DAY, Ref, day, iso, reference

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

MEMBERS = "/system/members"
UNITS = "business units"
"""Key of the departments where a reference shows only their name."""
GHOST = "ghost"
"""Key of the member whom records name, but whom the list does not have."""
_GHOST_ID = 150
_OPEN, _CLOSE = "08:00:00", "17:00:00"
_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday")
_HOLIDAYS = (("New Year", 1), ("May Day", 121), ("Company Day", 180), ("Boxing Day", 360))


def make(world: World) -> None:
    """A member for every 1,200 tickets, at least eight; one in six has left."""
    _currencies(world)
    _calendars(world)
    departments = "/system/departments"
    plain = [reference(departments, "department", r.id, r.name) for r in world.refs[departments]]
    world.refs[UNITS] = plain
    wanted = max(8, world.tickets_wanted // 1200)
    logins = [_member(world, number, left=number % 6 == 1) for number in range(wanted)]
    world.by += logins
    ghost = {"id": _GHOST_ID, "identifier": "zadmin", "name": "System Administrator"}
    world.refs[GHOST] = [Ref(_GHOST_ID, msgspec.Raw(msgspec.json.encode(ghost)), "zadmin")]
    for name in ("Vacation", "Training", "Internal Meeting"):
        world.lookups(
            "/time/chargeCodes",
            "chargeCode",
            [{"name": name, "billTime": "DoNotBill", "timeEntryFlag": True}],
        )


def _member(world: World, number: int, *, left: bool) -> str:
    """Makes a member: the login name."""
    dice = world.dice
    first, last = FIRST[number % len(FIRST)], LAST[number * 7 % len(LAST)]
    identifier = f"{first[0]}{last[:7]}{number}".replace("'", "")
    record_id = world.next_id(MEMBERS, _GHOST_ID + 1)
    hired = world.when(world.start - 900 * DAY, world.start + 400 * DAY)
    gone = world.when(hired + 200 * DAY) if left else None
    hourly_cost = round(dice.uniform(22, 70), 2)
    record: dict[str, Any] = {
        "id": record_id,
        "identifier": identifier,
        "licenseClass": "F",
        "firstName": first,
        "lastName": last,
        "inactiveFlag": left,
        "inactiveDate": iso(gone) if gone else None,
        "hireDate": day(hired),
        "officeEmail": f"{identifier.lower()}@example.com",
        "officePhone": "",
        "title": "Engineer",
        "type": world.raw("/system/members/types"),
        "defaultLocation": world.raw("/system/locations"),
        "defaultDepartment": world.raw("/system/departments"),
        "workRole": world.raw("/time/workRoles"),
        "workType": world.raw("/time/workTypes"),
        "dailyCapacity": dice.choice((8.0, 7.5, 4.0)),
        "billableForecast": 75.0,
        "hourlyCost": hourly_cost,
        "hourlyRate": round(hourly_cost * 3, 2),
        "includeInUtilizationReportingFlag": number % 5 != 0,
        "requireTimeSheetEntryFlag": True,
        "daysTolerance": 1,
        "minimumHours": 0.25,
        "adminFlag": number == 0,
        "enableMobileFlag": False,
        "excludedServiceBoardIds": [],
        "defaultEmail": "Office",
        "defaultPhone": "Office",
        "companyActivityTabFormat": "SummaryList",
        "invoiceTimeTabFormat": "SummaryList",
        "invoiceScreenDefaultTabFormat": "ShowInvoicingTab",
        "invoicingDisplayOptions": "RemainOnInvoicingScreen",
        "agreementInvoicingDisplayOptions": "RemainOnInvoicingScreen",
    }
    # Stubs of people who left lack what a working member has.
    if not left:
        record["timeZone"] = world.raw("/system/timeZoneSetups")
        record["calendar"] = world.raw("/schedule/calendars")
    world.put(MEMBERS, record, max(hired, world.start), gone)
    world.refer(
        MEMBERS,
        "member",
        record_id,
        f"{first} {last}",
        identifier=identifier,
        info={"image_href": f"{BASE}{MEMBERS}/{record_id}/image?lm=2025-01-01"},
    )
    return identifier


def _calendars(world: World) -> None:
    path, lists = "/schedule/calendars", "/schedule/holidayLists"
    for name in ("US Holidays", "UK Holidays"):
        world.lookups(lists, "holidayList", [{"name": name}])
    for at, ref in enumerate(world.refs[lists]):
        for year in range(5):
            for name, of_year in _HOLIDAYS:
                when = world.start + (year * 365 + of_year + at) * DAY
                if at == 0:
                    world.holidays.add(iso(when)[:10])
                holiday = {
                    "id": world.next_id("holidays"),
                    "name": name,
                    "allDayFlag": True,
                    "date": iso(when)[:10],
                    "timeStart": _OPEN,
                    "timeEnd": _CLOSE,
                    "holidayList": ref.raw,
                }
                world.put(f"{lists}/{ref.id}/holidays", holiday, world.start)
        hours = {f"{d}{e}Time": t for d in _WEEK for e, t in (("Start", _OPEN), ("End", _CLOSE))}
        calendar = {"name": ref.name, "holidayList": ref.raw, **hours}
        world.lookups(path, "calendar", [calendar])


def _currencies(world: World) -> None:
    for code, symbol, name in (("USD", "$", "US Dollars"), ("EUR", "€", "Euro")):
        path = "/finance/currencies"
        shown: dict[str, Any] = {
            "symbol": symbol,
            "decimalSeparator": ".",
            "numberOfDecimals": 2,
            "thousandsSeparator": ",",
            "negativeParenthesesFlag": False,
            "displaySymbolFlag": True,
            "currencyIdentifier": "Base" if code == "USD" else code,
            "displayIdFlag": False,
            "rightAlign": False,
        }
        record_id = world.next_id(path, 7)
        coded = {"id": record_id, "name": code}
        listed = {"id": record_id, "name": name, **shown, "currencyCode": coded}
        world.put(path, listed, world.start)
        world.refer(path, "currency", record_id, name, currencyCode=code, **shown)
