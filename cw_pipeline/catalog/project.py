"""Projects, their phases, teams and tickets."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity

_BOARDS = "/service/boards"  # a project board is one of them

RIGHT = "Project > Project Headers"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/project/{parentId}/billingRates", parent="/project/projects"),
    entity("/project/boards/{parentId}/kanbanSettings", parent=_BOARDS),
    entity("/project/boards/{parentId}/teams", parent=_BOARDS),
    entity("/project/boards/{grandparentId}/teams/{parentId}/members"),
    entity("/project/phaseStatuses", "Project phase statuses", core=True),
    entity("/project/projectTemplates/"),
    entity("/project/projectTemplates/projectTemplatePhases"),
    entity("/project/projectTemplates/projectTemplateTickets"),
    entity("/project/projectTemplates/projectTemplateTickets/tasks"),
    entity("/project/projectTemplates/{parentId}/workplan"),
    entity("/project/projectTypes", "Project types", core=True),
    entity("/project/projects", "Projects", core=True, history=True),
    entity("/project/projects/{parentId}/contacts"),
    entity("/project/projects/{parentId}/notes"),
    entity("/project/projects/{parentId}/phases", "Phases of projects", core=True),
    entity("/project/projects/{parentId}/teamMembers", "Who works on projects", core=True),
    entity("/project/securityRoles"),
    entity("/project/securityRoles/{parentId}/settings"),
    entity("/project/statusIndicators"),
    entity("/project/statuses", "Project statuses", core=True),
    entity(
        "/project/tickets",
        "Project tickets and issues; service tickets are apart",
        core=True,
        history=True,
        right="Project > Project Tickets",
    ),
    # One request per ticket, so not core.
    entity("/project/tickets/{parentId}/allNotes", "Notes and notes of time entries together"),
    entity("/project/tickets/{parentId}/configurations"),
    entity("/project/tickets/{parentId}/notes", "Notes of project tickets"),
    entity("/project/tickets/{parentId}/tasks"),
)
