"""What a registration at `/system/callbacks` may ask for, and which records it covers.

The developer guide has 16 types and 72 pairs of a type and a level. Two of the levels it does not
explain further: an `IntegratorTag` covers every record that is tagged, and a `ChargeToType` is
counted from 1 in the order of the API document, since no public source tells its ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from cw_pipeline.simulator.answers import InvalidField
from cw_pipeline.simulator.tenant import template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.simulator.tenant import Tenant

REGISTRATIONS = "/system/callbacks"
_CHARGED_TO = ("Company", "ServiceTicket", "ProjectTicket", "ChargeCode", "Activity")
_TAGGED = "integratorTags"
_COMPANIES = "/company/companies"


class _Type(NamedTuple):
    """The lists that a type is about, and the fields that hold what a level names.

    `types[]` is an array of references, `company/territory` is a field of the company referred to.
    """

    paths: tuple[str, ...]
    levels: dict[str, str]


TYPES: dict[str, _Type] = {
    "Activity": _Type(
        ("/sales/activities",),
        {"Status": "status", "Type": "type", "Company": "company", "Activity": "id"},
    ),
    "Agreement": _Type(
        ("/finance/agreements",), {"Type": "type", "Company": "company", "Agreement": "id"}
    ),
    "Company": _Type(
        (_COMPANIES,),
        {
            "Status": "status",
            "Type": "types[]",
            "Territory": "territory",
            "Company": "id",
            "IntegratorTag": _TAGGED,
        },
    ),
    "Contact": _Type(
        ("/company/contacts",),
        {
            "Type": "types[]",
            "Territory": "company/territory",
            "Company": "company",
            "Contact": "id",
        },
    ),
    "Configuration": _Type(
        ("/company/configurations",), {"Type": "type", "Status": "status", "Configuration": "id"}
    ),
    "Invoice": _Type(
        ("/finance/invoices",), {"Status": "status", "Company": "company", "Invoice": "id"}
    ),
    "Expense": _Type(
        ("/expense/entries",),
        {
            "ChargeToType": "chargeToType",
            "Type": "type",
            "Class": "classification",
            "Company": "company",
            "Expense": "id",
        },
    ),
    "Member": _Type(
        ("/system/members",),
        {"Location": "defaultLocation", "SecurityRole": "securityRole", "Member": "id"},
    ),
    "Opportunity": _Type(
        ("/sales/opportunities",),
        {"StatusId": "status", "Company": "company", "Opportunity": "id"},
    ),
    "ProductCatalog": _Type(("/procurement/catalog",), {}),
    "Project": _Type(
        ("/project/projects",), {"Status": "status", "Board": "board", "Project": "id"}
    ),
    "PurchaseOrder": _Type(
        ("/procurement/purchaseorders",),
        {
            "Status": "status",
            "Vendor": "vendorCompany",
            "Company": "customerCompany",
            "PurchaseOrder": "id",
        },
    ),
    "Schedule": _Type(
        ("/schedule/entries",),
        {
            "Status": "status",
            "Type": "type",
            "Location": "where",
            "Member": "member",
            "Schedule": "id",
        },
    ),
    "Site": _Type(
        (f"{_COMPANIES}/{{}}/sites",),
        {"Territory": "territory", "Company": "company", "Site": "id"},
    ),
    "Ticket": _Type(
        ("/service/tickets", "/project/tickets"),
        {
            "Board": "board",
            "Project": "project",
            "Phase": "phase",
            "Status": "status",
            "Ticket": "id",
            "IntegratorTag": _TAGGED,
        },
    ),
    "Time": _Type(("/time/entries",), {"Company": "company", "Time": "id"}),
}
OWNER = "Owner"
_BY_LIST = {template(path): name for name, each in TYPES.items() for path in each.paths}
_NAMES = {name.lower(): name for name in TYPES}
_LONGEST_DESCRIPTION = 100


def type_of(path: str) -> str | None:
    """The type of callbacks about the records of a list; None for a list without callbacks."""
    return _BY_LIST.get(template(path))


def covers(registration: dict[str, Any], path: str, record: dict[str, Any], tenant: Tenant) -> bool:
    """Whether the registration is about this record of the list at `path`."""
    name = type_of(path)
    if name is None or _NAMES.get(str(registration.get("type")).lower()) != name:
        return False
    level = _level(name, str(registration.get("level", OWNER)))
    if level in {None, OWNER}:
        return level == OWNER
    field = TYPES[name].levels[str(level)]
    if field == _TAGGED:
        return bool(record.get(_TAGGED))
    shown = dict(record)
    if name == "Site":  # which is what its list tells, where the record itself does not
        shown.setdefault("company", {"id": int(path.split("/")[3])})
    named = [each for each in shown if each.lower() == str(level).lower()]
    # Records that were put by hand, or come from older versions, may have it by the level's name.
    found = {record_id for each in (field, *named) for record_id in _ids(shown, each, tenant)}
    return registration.get("objectId") in found


def check(registration: dict[str, Any]) -> dict[str, Any]:
    """The registration as it is stored: type and level in lower case, as answers have them.

    Raises InvalidField for one that ConnectWise does not take.
    """
    url, name = registration.get("url"), _NAMES.get(str(registration.get("type")).lower())
    if not isinstance(url, str) or not url.strip():
        raise InvalidField("callback", "url", "The url field is required.")
    if not _is_url(url):
        raise InvalidField("callback", "url", "Invalid URL")
    if name is None:
        raise InvalidField("callback", "type", "Unrecognized type")
    level = _level(name, str(registration.get("level")))
    if level is None:
        raise InvalidField("callback", "level", f"Unrecognized level for type {name}")
    object_id = registration.get("objectId", 1 if level == OWNER else None)
    if not isinstance(object_id, int) or isinstance(object_id, bool) or object_id < 1:
        raise InvalidField("callback", "objectId", "The objectId field is required.")
    if len(str(registration.get("description") or "")) > _LONGEST_DESCRIPTION:
        raise InvalidField("callback", "description", "description is longer than 100 characters")
    named = {"type": name.lower(), "level": level.lower(), "objectId": object_id}
    return {"inactiveFlag": False, **registration, **named}


def is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two registrations ask for the same deliveries to the same address."""
    names = ("url", "type", "level", "objectId")
    return all(str(one.get(each)).lower() == str(other.get(each)).lower() for each in names)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _level(type_name: str, level: str) -> str | None:
    """The level as the guide spells it; `status` and `statusId` are one."""
    for known in (OWNER, *TYPES[type_name].levels):
        if level.lower().removesuffix("id") == known.lower().removesuffix("id"):
            return known
    return None


def _ids(record: dict[str, Any], field: str, tenant: Tenant) -> Iterator[int]:
    """The ids that a record has in a field."""
    name, _, rest = field.partition("/")
    held = record.get(name.removesuffix("[]"))
    if rest and isinstance(held, dict):
        kept, referred = tenant.collection(_COMPANIES), held.get("id")
        if isinstance(referred, int) and referred in kept:
            yield from _ids(kept.get(referred), rest, tenant)
        return
    for each in held if isinstance(held, list) else [held]:
        value = each.get("id") if isinstance(each, dict) else each
        if isinstance(value, str) and value in _CHARGED_TO:
            value = _CHARGED_TO.index(value) + 1
        if isinstance(value, int):
            yield value
