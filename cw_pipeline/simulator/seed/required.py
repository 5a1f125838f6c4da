"""What the API document requires of records, and nothing else of a tenant refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cw_pipeline.simulator.seed.world import World

_REFERENCES = {
    "/company/countries": {"currency": "/finance/currencies"},
    "/company/states": {"country": "/company/countries"},
    "/expense/paymentTypes": {"classification": "/expense/classifications"},
    "/marketing/campaigns": {"subType": "/marketing/campaigns/subTypes"},
    "/procurement/warehouses": {
        "location": "/system/locations",
        "department": "/system/departments",
    },
    "/sales/quotas": {"location": "/system/locations"},
    "/sales/salesTeams": {"salesTeamLocation": "/system/locations"},
    "/time/chargeCodes": {"company": "/company/companies"},
}
"""Fields that refer to the first record of a list."""
_VALUES: dict[str, dict[str, Any]] = {
    "/company/communicationTypes": {
        "iphoneXref": ("email", "phone", "fax", "mobile"),
        "androidXref": ("Email", "Phone", "Fax", "Mobile"),
    },
    "/expense/types": {"invoiceMarkupOption": "Percent"},
    "/finance/agreements/types": {
        "billTime": "NoDefault",
        "billExpenses": "NoDefault",
        "billProducts": "NoDefault",
        "employeeCompRate": "Hourly",
        "employeeCompNotExceed": "Billing",
        "invoicingCycle": "CalendarYear",
    },
    "/finance/glAccounts": {
        "mappedType": {"id": 1, "name": "Service"},
        "mappedRecord": {"id": 1, "name": "All"},
    },
    "/finance/taxCodes": {"effectiveDate": "2020-01-01T00:00:00Z", "invoiceCaption": "Tax"},
    "/system/locations": {"structureLevel": {"id": 2, "name": "Location"}},
    "/system/members": {"securityRole": {"id": 63, "name": "Service"}},
    "/system/timeZoneSetups": {
        "timeZone": (
            {"id": 35, "name": "(UTC-05:00) Eastern Time (US & Canada)"},
            {"id": 85, "name": "(UTC) Dublin, Edinburgh, Lisbon, London"},
            {"id": 110, "name": "(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna"},
        )
    },
    "/time/timePeriodSetups": {"numberFuturePeriods": 4, "firstPeriodEndDate": "2022-01-07"},
}
"""Fields that are the same in every record; a tuple has one for each of them."""


def complete(world: World) -> None:
    """Gives the records of short lists the required fields that they still lack."""
    for path in sorted({*_REFERENCES, *_VALUES}):
        referred = _REFERENCES.get(path, {}).items()
        lacking: dict[str, Any] = {name: world.refs[to][0].raw for name, to in referred}
        lacking |= _VALUES.get(path, {})
        held = world.tenant.stored_collection(path)
        for at, (record_id, stamp) in enumerate(held.index_of(held.ids)):
            values = {k: v[at % len(v)] if isinstance(v, tuple) else v for k, v in lacking.items()}
            whole = {**values, **held.get(record_id)}
            held.put_raw(record_id, stamp, msgspec.json.encode(whole))
