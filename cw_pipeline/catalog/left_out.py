"""The lists that are not synced, each with the reason.

`BY_KIND` is for those that the catalogue does not declare: a line there is all that one needs.
`BY_PATH` has single lists; one that is to be synced after all is taken out here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cw_pipeline.catalog.facts import facts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

BY_KIND: Mapping[str, str] = {
    "info": "a light copy for drop-downs of a list that is kept whole",
    "usages": "where one record is used: one request for each record there is",
    "link": "references only; the records themselves, in their own list, name what they belong to",
    "singleton": "one object, not a list",
}

_FLAT = "has a flat list of its own: one request instead of one per parent"
_SAME = "the same records as another list that is kept"
_ONE = "one record by its id, answered as a list"
_ASKS = "answers for one kind of record and one id: read below the records that are chosen for it"
_ACTS = "an action rather than a list: asking for it does something"
_BUILT_IN = "choices that come with the product: a record that makes one carries its id and name"
_READ_ELSEWHERE = "read with the reports, whose columns it describes"

BY_PATH: Mapping[str, str] = {
    "/expense/info/taxTypes": _BUILT_IN,
    "/finance/info/currencyCodes": _BUILT_IN,
    "/system/BillableOptions/info": _BUILT_IN,
    "/system/directionalSyncs/info": _BUILT_IN,
    "/system/documentTypes/info": _BUILT_IN,
    "/system/info/locales": _BUILT_IN,
    "/system/info/personas": _BUILT_IN,
    "/system/m365contactsync/info": _BUILT_IN,
    "/system/office365/application/info": _BUILT_IN,
    "/company/companies/{parentId}/typeAssociations": _FLAT,
    "/company/contacts/{parentId}/typeAssociations": _FLAT,
    "/procurement/products/{grandparentId}/components/{parentId}": _ONE,
    "/procurement/products/{grandparentId}/pickingShippingDetails/{parentId}": _ONE,
    "/project/projectTemplates/{parentId}/projectTemplatePhases": _FLAT,
    "/project/projectTemplates/{parentId}/projectTemplateTickets": _FLAT,
    "/project/projectTemplates/{grandparentId}/projectTemplateTickets/{parentId}/tasks": _FLAT,
    "/schedule/entries/{parentId}/details": _FLAT,
    "/service/tickets/calculateSla": _SAME,  # with the SLA worked out while one waits
    "/system/audittrail": _ASKS,
    "/system/documents": _ASKS,
    "/system/members/withSso": _SAME,
    "/system/members/{parentId}/mycertifications": _SAME,
    "/system/myAccount/{parentId}/delegations": _SAME,
    "/system/myAccount/{parentId}/skills": _SAME,
    "/system/office365/emailSetups/{parentId}/getEmails/": _ACTS,
    "/system/reports/{parentId}/columns": _READ_ELSEWHERE,
    "/system/workflowActions/{parentId}/automateParameters": _FLAT,
    "/system/workflows/attachments/{parentId}": _ONE,
    "/system/workflows/notifyTypes/{parentId}": _ONE,
    "/system/workflows/{parentId}/attachments": _FLAT,
    "/system/workflows/{parentId}/events": _FLAT,
    "/system/workflows/{grandparentId}/events/{parentId}/actions": _FLAT,
    "/system/workflows/{grandparentId}/events/{parentId}/test": _ACTS,
    "/system/workflows/{parentId}/notifyTypes": _FLAT,
    "/system/workflows/{parentId}/triggers": _FLAT,
    "/system/workflows/{grandparentId}/triggers/{parentId}/options": _FLAT,
    "/system/workflows/userdefinedfields/events/{grandparentId}/actions/{parentId}": _ONE,
}


def reasons(kept: Collection[str]) -> dict[str, str | None]:
    """Why each of the vendor's lists that is not among the paths `kept` is not synced, by path.

    None where nothing speaks against it.
    """
    return {
        path: BY_PATH.get(path) or BY_KIND.get(fact["kind"])
        for path, fact in facts()["lists"].items()
        if path not in kept
    }
