"""Opportunities, activities and sales orders."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity

RIGHT = "Sales > Opportunity"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/sales/activities", "Sales activities", core=True, right="Sales > Sales Activity"),
    entity("/sales/activities/statuses", "Activity statuses", core=True),
    entity("/sales/activities/types", "Activity types", core=True),
    entity("/sales/commissions"),
    entity(
        "/sales/opportunities",
        "Opportunities",
        core=True,
        history=True,
    ),
    entity("/sales/opportunities/{parentId}/contacts"),
    entity("/sales/opportunities/conversions/{parentId}", parent="/sales/opportunities"),
    entity(
        "/sales/opportunities/{parentId}/forecast",
        "Revenue of opportunities",
        core=True,
        history=True,
    ),
    entity("/sales/opportunities/{parentId}/notes"),
    entity("/sales/opportunities/ratings", "Opportunity ratings", core=True),
    entity("/sales/opportunities/statuses", "Opportunity statuses", core=True),
    entity("/sales/opportunities/{parentId}/team"),
    entity("/sales/opportunities/types", "Opportunity types", core=True),
    entity("/sales/orders", "Sales orders", core=True, right="Sales > Sales Orders"),
    entity("/sales/orders/conversions/{parentId}", parent="/sales/orders"),
    entity("/sales/orders/{parentId}/financialrecap"),
    entity("/sales/orders/{parentId}/lineitems/"),
    entity("/sales/orders/statuses", "Sales order statuses", core=True),
    entity("/sales/orders/statuses/{parentId}/emailtemplates/"),
    entity("/sales/orders/statuses/{parentId}/notifications"),
    entity("/sales/probabilities", "Probabilities of winning", core=True),
    entity("/sales/quotas", "Sales quotas", core=True),
    entity("/sales/roles", "Roles on opportunity teams", core=True),
    entity("/sales/salesTeams", "Sales teams", core=True),
    entity("/sales/salesTeams/{parentId}/members"),
    entity("/sales/stages", "Sales stages", core=True),
)
