"""The few addresses that are no plain lists: companyinfo, system/info and the audit trail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cw_pipeline.simulator.answers import Answer, BadQuery, Refusal, as_json, wrong_media
from cw_pipeline.simulator.query import page_links
from cw_pipeline.simulator.tenant import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cw_pipeline.simulator.query import ListRequest
    from cw_pipeline.simulator.tenant import Tenant

ON_PREMISE = "v4_6_release/"
"""The codebase of every server that is not in the vendor's cloud."""
_AUDITED = {
    "ticket": "/service/tickets",
    "projectticket": "/project/tickets",
    "contact": "/company/contacts",
    "company": "/company/companies",
    "opportunity": "/sales/opportunities",
    "time": "/time/entries",
    "activity": "/sales/activities",
    "productcatalog": "/procurement/catalog",
    "purchasing": "/procurement/products",
    "configuration": "/company/configurations",
    "schedule": "/schedule/entries",
    "agreement": "/finance/agreements",
    "project": "/project/projects",
    "invoice": "/finance/invoices",
    "purchaseorder": "/procurement/purchaseorders",
    "expense": "/expense/entries",
}


def company_info(company: str, asked_for: str, codebase: str, site: str) -> Answer:
    """What `/login/companyinfo/{company}` says: null for a company it does not know."""
    if asked_for.lower() != company.lower():
        return as_json(None)
    return as_json(
        {
            "CompanyName": company.title(),
            "Codebase": codebase,
            "VersionCode": _version(codebase),
            "VersionNumber": "v4.6.102345",
            "CompanyID": company,
            "IsCloud": codebase != ON_PREMISE,
            "SiteUrl": site,
        }
    )


def info(codebase: str) -> Answer:
    """`/system/info`."""
    return as_json(
        {
            "version": _version(codebase),
            "isCloud": codebase != ON_PREMISE,
            "serverTimeZone": "Eastern Standard Time",
            "licenseBits": [{"name": "ProcurementAccess", "activeFlag": True}],
            "cloudRegion": "NA",
            "maxWorkFlowRecordsAllowed": 1000,
        }
    )


def _version(codebase: str) -> str:
    return "v2019.5" if codebase == ON_PREMISE else codebase.strip("/").replace("_", ".")


def documents(method: str, query: Mapping[str, str]) -> str:
    """The list that holds the documents of one record: `/system/documents/ticket/5`.

    `recordType` and `recordId` must name it. Raises BadQuery, and Refusal for what is sent there.
    """
    if method != "GET":
        raise Refusal(wrong_media())
    given = {name.lower(): value for name, value in query.items()}
    kind, text = given.get("recordtype", ""), given.get("recordid", "")
    if not kind or not text.isdecimal():
        raise BadQuery("Documents need a recordType and a recordId.", "recordId")
    return canonical(f"/system/documents/{kind}/{text}")


def audit_trail(
    tenant: Tenant, url: str, query: Mapping[str, str], asked: ListRequest
) -> tuple[Answer, int]:
    """The rows of one record, which `type` and `id` must name, and how many there are in all.

    Rows have no id, and there is no forward-only pagination here. Raises BadQuery.
    """
    given = {name.lower(): value for name, value in query.items()}
    path, text = _AUDITED.get(given.get("type", "").lower()), given.get("id", "")
    if path is None or not text.isdecimal():
        raise BadQuery("The audit trail needs a type and an id.", "type" if path is None else "id")
    asked = replace(asked, page=max(1, int(given.get("page") or 1)))
    rows = _rows(tenant, path, int(text), given["type"])
    start = (asked.page - 1) * asked.page_size
    answer = as_json(rows[start : start + asked.page_size])
    link = page_links(url, query, asked.page, -(-len(rows) // asked.page_size))
    if link:
        answer.headers["Link"] = link
    return answer, len(rows)


def _rows(tenant: Tenant, path: str, record_id: int, kind: str) -> list[dict[str, Any]]:
    if record_id not in tenant.collection(path):
        return []
    stamps = tenant.get(path, record_id).get("_info", {})
    stamp_fields = (
        ("dateEntered", "enteredBy", "Created"),
        ("lastUpdated", "updatedBy", "Updated"),
    )
    return [
        {
            "text": f"{kind} #{record_id} has been {action.lower()}.",
            "enteredDate": stamps[when],
            "enteredBy": stamps.get(who, "zadmin"),
            "auditType": kind,
            "auditSubType": action,
            "auditSource": "API",
        }
        for when, who, action in stamp_fields
        if when in stamps
    ]
