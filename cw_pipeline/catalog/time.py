"""Time worked, timesheets and what time is charged to."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity
from cw_pipeline.model import SyncMode

RIGHT = "Time & Expense > Time Entry"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/time/accruals", "Accrual policies: vacation, sick leave", core=True),
    entity("/time/accruals/{parentId}/details"),
    entity("/time/activitystopwatches"),
    entity("/time/changelogs", mode=SyncMode.FULL),  # a queue: rows leave it
    entity("/time/chargeCodes", "Charge codes: time that is no ticket's", core=True),
    entity("/time/chargeCodes/{parentId}/expenseTypes"),
    # History not for people: reports that sum time up must know where an entry was before.
    entity("/time/entries", "Time worked", core=True, history=True),
    entity("/time/entries/{parentId}/audits"),
    entity("/time/schedulestopwatches"),
    entity("/time/sheets", "Timesheets of members", core=True),
    entity("/time/sheets/{parentId}/audits"),
    entity("/time/ticketstopwatches"),
    entity("/time/timePeriodSetups", "Time periods", core=True),
    entity("/time/timePeriodSetups/{parentId}/periods"),
    entity("/time/workRoles", "Work roles", core=True),
    entity("/time/workRoles/{parentId}/locations"),
    entity("/time/workTypes", "Work types", core=True),
)
