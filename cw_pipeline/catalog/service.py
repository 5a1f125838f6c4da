"""The service desk: tickets, boards, SLAs, surveys, the knowledge base."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity
from cw_pipeline.model import SyncMode

RIGHT = "Service Desk > Service Tickets"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/service/SLAs", "Service level agreements", core=True),
    entity("/service/SLAs/{parentId}/priorities", "Goals of an SLA by priority", core=True),
    entity("/service/boards", "Service and project boards", core=True),
    entity("/service/boards/{parentId}/autoAssignResources"),
    entity("/service/boards/{parentId}/autoTemplates"),
    entity("/service/boards/{parentId}/excludedMembers"),
    entity("/service/boards/{parentId}/items", "Ticket items of boards", core=True),
    entity("/service/boards/{grandparentId}/items/{parentId}/associations"),
    entity("/service/boards/{parentId}/notifications"),
    entity("/service/boards/{parentId}/skillMappings/"),
    entity("/service/boards/{parentId}/statuses", "Ticket statuses of boards", core=True),
    entity("/service/boards/{grandparentId}/statuses/{parentId}/notifications"),
    entity("/service/boards/{parentId}/subtypes", "Ticket subtypes of boards", core=True),
    entity("/service/boards/{parentId}/teams", "Teams of boards", core=True),
    entity("/service/boards/{parentId}/typeSubTypeItemAssociations"),
    entity("/service/boards/{parentId}/types", "Ticket types of boards", core=True),
    entity("/service/codes"),
    entity("/service/emailTemplates"),
    entity("/service/impacts", "Impacts of tickets", core=True),
    entity("/service/knowledgeBaseArticles"),
    entity("/service/knowledgeBaseCategories"),
    entity("/service/knowledgeBaseSubCategories"),
    entity("/service/locations", "Where service is given", core=True),
    entity("/service/priorities", "Ticket priorities", core=True),
    entity("/service/serviceSignoff"),
    entity("/service/serviceSignoff/{parentId}/signoffcustomfields"),
    entity("/service/severities", "Severities of tickets", core=True),
    entity("/service/sources", "Where tickets come from", core=True),
    entity("/service/surveys", "Satisfaction surveys", core=True, right="System > Table Setup"),
    entity("/service/surveys/{parentId}/questions", "Questions of surveys", core=True),
    entity("/service/surveys/{grandparentId}/questions/{parentId}/options"),
    entity("/service/surveys/{parentId}/results", "Answers of customers", core=True, history=True),
    entity("/service/teams"),
    entity("/service/templates"),
    entity("/service/templates/{parentId}/tasks"),
    entity("/service/ticketLinks"),
    entity("/service/ticketSyncs"),
    entity(
        "/service/tickets",
        "Service desk tickets; project tickets are apart",
        core=True,
        history=True,
    ),
    entity("/service/tickets/authstatus"),
    entity("/service/tickets/changelogs", mode=SyncMode.FULL),  # a queue: rows leave it
    # One request per ticket, so not core.
    entity("/service/tickets/{parentId}/allNotes", "Notes and notes of time entries together"),
    entity("/service/tickets/{parentId}/configurations"),
    entity("/service/tickets/{parentId}/notes", "Notes of service tickets"),
    entity("/service/tickets/{parentId}/tasks"),
)
