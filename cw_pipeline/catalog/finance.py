"""Agreements, invoices and what accounting needs."""

from __future__ import annotations

from cw_pipeline.catalog.declare import entity
from cw_pipeline.model import SyncMode

_TYPES = "/finance/agreements/types"  # their children are under another path

RIGHT = "Finance > Invoicing"
"""Where a security role keeps the right to inquire these lists, unless a line says another."""

ENTITIES = (
    entity("/finance/accounting/batches"),
    entity("/finance/accounting/batches/{parentId}/entries"),
    # What is unposted leaves these lists when it is posted: only a whole reading shows that.
    entity("/finance/accounting/unpostedexpenses", mode=SyncMode.FULL),
    entity("/finance/accounting/unpostedexpenses/{parentId}/taxableLevels"),
    entity("/finance/accounting/unpostedinvoices", mode=SyncMode.FULL),
    entity("/finance/accounting/unpostedinvoices/{parentId}/taxableLevels"),
    entity("/finance/accounting/unpostedpayments", mode=SyncMode.FULL),
    entity("/finance/accounting/unpostedprocurement", mode=SyncMode.FULL),
    entity("/finance/accounting/unpostedprocurement/{parentId}/taxableLevels"),
    entity("/finance/accountingPackageSetup"),
    entity("/finance/accountingPackages"),
    entity("/finance/agreementTypes/{parentId}/boardDefaults", parent=_TYPES),
    entity("/finance/agreementTypes/{parentId}/workRoleExclusions", parent=_TYPES),
    entity("/finance/agreementTypes/{parentId}/workTypeExclusions", parent=_TYPES),
    entity("/finance/agreementTypes/{parentId}/workroles", parent=_TYPES),
    entity("/finance/agreementTypes/{parentId}/worktypes", parent=_TYPES),
    entity("/finance/agreementrecap/", "What agreements used and have left; no history"),
    entity(
        "/finance/agreements",
        "Contracts and what they cover",
        core=True,
        history=True,
        right="Finance > Agreements",
    ),
    entity(
        "/finance/agreements/{parentId}/additions",
        "Recurring lines of agreements",
        core=True,
        history=True,
    ),
    entity("/finance/agreements/{parentId}/adjustments", "Corrections of agreements", core=True),
    entity("/finance/agreements/{parentId}/boardDefaults"),
    entity("/finance/agreements/{parentId}/configurations"),
    entity("/finance/agreements/{parentId}/sites"),
    entity("/finance/agreements/types", "Agreement types", core=True),
    entity("/finance/agreements/{parentId}/workRoleExclusions"),
    entity("/finance/agreements/{parentId}/workTypeExclusions"),
    entity("/finance/agreements/{parentId}/workroles"),
    entity("/finance/agreements/{parentId}/worktypes"),
    entity("/finance/batchSetups"),
    entity("/finance/billingCycles", "How often agreements bill", core=True, history=True),
    entity("/finance/billingSetups"),
    entity("/finance/billingSetups/{parentId}/routings"),
    entity("/finance/billingStatuses", "Invoice statuses", core=True),
    entity("/finance/billingTerms", "Payment terms", core=True),
    entity("/finance/companyFinance/"),
    entity("/finance/currencies", "Currencies", core=True),
    entity("/finance/deliveryMethods", "How invoices are delivered", core=True),
    entity("/finance/glAccounts", "General ledger accounts", core=True),
    entity("/finance/glAccounts/mappedTypes"),
    entity("/finance/glCaptions"),
    entity("/finance/glpaths"),
    entity("/finance/invoiceEmailTemplates"),
    entity("/finance/invoiceTemplateSetups"),
    entity("/finance/invoiceTemplates"),
    entity(
        "/finance/invoices",
        "Invoices, with what is still unpaid",
        core=True,
        history=True,
    ),
    # One request per invoice, so not core.
    entity("/finance/invoices/{parentId}/commissions"),
    entity("/finance/invoices/{parentId}/glEntries/"),
    entity("/finance/invoices/{parentId}/payments"),
    entity("/finance/invoices/{parentId}/routings"),
    entity("/finance/taxCodes", "Tax codes", core=True),
    entity("/finance/taxCodes/{parentId}/expenseTypeExemptions"),
    entity(
        "/finance/taxCodes/{grandparentId}/expenseTypeExemptions/{parentId}/taxableExpenseTypeLevels"
    ),
    entity("/finance/taxCodes/{parentId}/productTypeExemptions"),
    entity(
        "/finance/taxCodes/{grandparentId}/productTypeExemptions/{parentId}/taxableProductTypeLevels"
    ),
    entity("/finance/taxCodes/{parentId}/taxCodeLevels"),
    entity("/finance/taxCodes/{parentId}/taxCodeXRefs"),
    entity("/finance/taxCodes/{grandparentId}/taxCodeXRefs/{parentId}/taxableXRefLevels"),
    entity("/finance/taxCodes/{parentId}/workRoleExemptions"),
    entity("/finance/taxCodes/{grandparentId}/workRoleExemptions/{parentId}/taxableWorkRoleLevels"),
    entity("/finance/taxIntegrations"),
)
