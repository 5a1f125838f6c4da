"""The types of callbacks that the developer guide has, and the lists that each is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CALLBACK_TYPES: dict[str, tuple[str, ...]] = {
    "Activity": ("sales/activities",),
    "Agreement": ("finance/agreements",),
    "Company": ("company/companies",),
    "Configuration": ("company/configurations",),
    "Contact": ("company/contacts",),
    "Expense": ("expense/entries",),
    "Invoice": ("finance/invoices",),
    "Member": ("system/members",),
    "Opportunity": ("sales/opportunities",),
    "ProductCatalog": ("procurement/catalog",),
    "Project": ("project/projects",),
    "PurchaseOrder": ("procurement/purchaseorders",),
    "Schedule": ("schedule/entries",),
    "Site": ("company/companies/sites",),
    "Ticket": ("service/tickets", "project/tickets"),
    "Time": ("time/entries",),
}
"""Entities by type, as `/system/callbacks` spells it. One id is in one of them alone.

Sites are a list below their company, so for a site its company is read, and then its sites.
"""


def callback_types(entities: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The types that are about any of these entities, with those of their lists that are."""
    names = set(entities)
    found = {t: tuple(n for n in lists if n in names) for t, lists in CALLBACK_TYPES.items()}
    return {each: lists for each, lists in found.items() if lists}
