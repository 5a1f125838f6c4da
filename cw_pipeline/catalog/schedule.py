"""Who is scheduled for what, and when nobody works."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity

RIGHT = "Companies > Manage Schedule"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/schedule/calendars", "Working hours", core=True),
    entity("/schedule/colors"),
    entity("/schedule/details"),
    entity("/schedule/entries", "Who is scheduled for what, and when", core=True, history=True),
    entity("/schedule/holidayLists", "Holiday lists", core=True),
    entity("/schedule/holidayLists/{parentId}/holidays", "Days off", core=True),
    entity("/schedule/portalcalendars"),
    entity("/schedule/reminderTimes"),
    entity("/schedule/statuses", "Schedule statuses", core=True),
    entity("/schedule/types", "Schedule types", core=True),
)
