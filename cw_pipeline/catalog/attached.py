"""What hangs on records of many kinds: one list that is asked for one kind and one id at a time.

A request for each record there is, so these are never meant by a glob or by `all`: only by name, or
by CW_AUDIT_TRAIL and CW_DOCUMENTS.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cw_pipeline.catalog.declare import entity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cw_pipeline.catalog.declare import Declared

AUDITED: Mapping[str, str] = {
    "Activity": "/sales/activities",
    "Agreement": "/finance/agreements",
    "AgreementAddition": "/finance/agreements/{parentId}/additions",
    "Company": "/company/companies",
    "Configuration": "/company/configurations",
    "Contact": "/company/contacts",
    "Expense": "/expense/entries",
    "Invoice": "/finance/invoices",
    "Opportunity": "/sales/opportunities",
    "ProductCatalog": "/procurement/catalog",
    "Project": "/project/projects",
    "ProjectTicket": "/project/tickets",
    "PurchaseOrder": "/procurement/purchaseorders",
    "Purchasing": "/procurement/products",
    "Schedule": "/schedule/entries",
    "Ticket": "/service/tickets",
    "Time": "/time/entries",
}
"""The lists whose records have an audit trail, by what the audit trail calls them."""

DOCUMENTED: Mapping[str, str] = {
    "Agreement": "/finance/agreements",
    "Company": "/company/companies",
    "Configuration": "/company/configurations",
    "Contact": "/company/contacts",
    "Expense": "/expense/entries",
    "Invoice": "/finance/invoices",
    "Opportunity": "/sales/opportunities",
    "Project": "/project/projects",
    "PurchaseOrder": "/procurement/purchaseorders",
    "SalesOrder": "/sales/orders",
    "Ticket": "/service/tickets",
}
"""The lists whose records have documents, by what the documents call them."""


def audit_trail(kind: str) -> Declared:
    """Who changed a record of this kind, and what, in the product's words."""
    path = f"/system/audittrail?type={kind}&id={{parentId}}"
    about = f"Audit trail of each record: {kind}"
    return replace(entity(path, about, parent=AUDITED[kind]), step="auditTrail")


def documents(kind: str) -> Declared:
    """What is attached to a record of this kind: name, size, owner; not the files."""
    path = f"/system/documents?recordType={kind}&recordId={{parentId}}"
    about = f"Documents attached to each record: {kind}"
    return replace(entity(path, about, parent=DOCUMENTED[kind]), step="attachedDocuments")


ATTACHED = (*map(audit_trail, AUDITED), *map(documents, DOCUMENTED))
