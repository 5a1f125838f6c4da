"""Expenses and expense reports."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity

RIGHT = "Time & Expense > Expense Reporting"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/expense/classifications", "Expense classifications", core=True),
    entity("/expense/entries", "Expenses of members", core=True, history=True),
    entity("/expense/entries/{parentId}/audits"),
    entity("/expense/paymentTypes", "How expenses are paid", core=True),
    entity("/expense/reports", "Expense reports of members", core=True),
    entity("/expense/reports/{parentId}/audits"),
    entity("/expense/types", "Expense types", core=True),
)
