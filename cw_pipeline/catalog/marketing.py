"""Campaigns and marketing groups."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity

RIGHT = "Marketing > Marketing Management"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/marketing/campaigns", "Campaigns", core=True),
    entity("/marketing/campaigns/{parentId}/audits"),
    entity("/marketing/campaigns/{parentId}/emailsOpened"),
    entity("/marketing/campaigns/{parentId}/formsSubmitted"),
    entity("/marketing/campaigns/{parentId}/linksClicked"),
    entity("/marketing/campaigns/statuses", "Campaign statuses", core=True),
    entity("/marketing/campaigns/subTypes", "Campaign subtypes", core=True),
    entity("/marketing/campaigns/types", "Campaign types", core=True),
    entity("/marketing/campaigns/types/{parentId}/subTypes"),
    entity("/marketing/groups", "Marketing groups", core=True),
    entity("/marketing/groups/{parentId}/companies"),
    entity("/marketing/groups/{parentId}/contacts"),
)
