"""The jobs: what runs together, and how a run that failed is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.dagster.asset_specs import COUNT, SYNC_OK, audit_key, report_keys, reread_key
from cw_pipeline.dagster.checks import (
    DEAD_LETTERS,
    DRIFT,
    FRESH,
    PROVEN,
    entity_check_selection,
    key_check_keys,
    tenant_check_keys,
)
from cw_pipeline.dagster.reports_api_assets import UNCHANGED, report_key, report_table_keys
from cw_pipeline.dagster.resource import YIELDING_TAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.dagster.internals import AssetJob
    from cw_pipeline.dagster.tenant import TenantSetup

REPORTING_KEYS = "reporting_keys"
REFRESH, PROMISES, RECONCILE, REREAD, REPORTS, REPORTING, MAINTENANCE = (
    "refresh", "promises", "reconcile", "reread", "report_columns", "reporting", "maintenance",
)  # fmt: skip
REPORT_TABLES = "report_tables"

_RETRIES = {"dagster/max_retries": "1", "dagster/retry_strategy": "FROM_ASSET_FAILURE"}
_BEHIND = {YIELDING_TAG: "true"}


def jobs(tenant: TenantSetup) -> dict[str, AssetJob]:
    """The jobs by their plain names. Those that read at leisure let the live refresh go first."""
    watched = entity_check_selection(tenant, FRESH, DEAD_LETTERS, PROVEN, COUNT)
    watched |= dg.AssetSelection.checks(*tenant_check_keys(tenant))
    made = (
        refresh_job(tenant),
        _job(tenant, PROMISES, "Looks in the warehouse whether what is promised holds.", watched),
        reconcile_job(tenant),
        reread_job(tenant),
        report_columns_job(tenant),
        _job(
            tenant,
            REPORTING_KEYS,
            "Looks in the reporting schema whether every key has its row.",
            dg.AssetSelection.checks(*key_check_keys(tenant)),
        ),
        _job(
            tenant,
            REPORTING,
            "Brings the tables of the reporting schema up to date with what was synced.",
            dg.AssetSelection.assets(*report_keys(tenant)),
            _RETRIES,
        ),
    )
    tables = [report_tables_job(tenant)] if report_table_keys(tenant) else []
    return {job.name.removeprefix(tenant.name("")): job for job in (*made, *tables)}


def refresh_job(tenant: TenantSetup, *, reporting: bool = True) -> AssetJob:
    """The job that brings entities up to date, and with `reporting` the tables that follow."""
    lists = with_checks([tenant.key(entity.table) for entity in tenant.entities], SYNC_OK)
    if reporting:
        lists |= dg.AssetSelection.assets(*report_keys(tenant)).without_checks()
    return _job(
        tenant,
        REFRESH,
        "Reads what changed since each entity's watermark, and brings the tables up to date that"
        " show it. The schedule launches it; launched by hand for a month, it reads that month"
        " again.",
        lists,
        _RETRIES,
    )


def reconcile_job(tenant: TenantSetup, *, judging: bool = True) -> AssetJob:
    """The job that proves; with `judging` the check `proven` of each entity follows."""
    audit = with_checks([audit_key(tenant)])
    return _job(
        tenant,
        RECONCILE,
        "Compares every list with its table, mends the difference, and says what is proven.",
        audit | entity_check_selection(tenant, PROVEN) if judging else audit,
        _RETRIES | _BEHIND,
    )


def reread_job(tenant: TenantSetup, *, judging: bool = True) -> AssetJob:
    """The job of the rotating re-read; with `judging` the check `drift` of each entity follows."""
    read = with_checks([reread_key(tenant)])
    return _job(
        tenant,
        REREAD,
        "Reads the next part of every list again, whatever its stamps say.",
        read | entity_check_selection(tenant, DRIFT) if judging else read,
        _RETRIES | _BEHIND,
    )


def report_columns_job(tenant: TenantSetup) -> AssetJob:
    """The job that snapshots which columns reports have."""
    return _job(
        tenant,
        REPORTS,
        "Snapshots the columns of the tenant's reports and tells what changed.",
        with_checks([report_key(tenant)], SYNC_OK, UNCHANGED),
        _RETRIES | _BEHIND,
    )


def report_tables_job(tenant: TenantSetup) -> AssetJob:
    """The job that brings the tables of the chosen reports up to date."""
    return _job(
        tenant,
        REPORT_TABLES,
        "Reads what changed in the reports that CW_REPORTS chooses.",
        with_checks(list(report_table_keys(tenant)), SYNC_OK),
        _RETRIES | _BEHIND,
    )


def with_checks(keys: Sequence[dg.AssetKey], *names: str) -> dg.AssetSelection:
    """The assets with just these checks."""
    checks = [dg.AssetCheckKey(key, name) for key in keys for name in names]
    selected = dg.AssetSelection.assets(*keys).without_checks()
    return selected | dg.AssetSelection.checks(*checks) if checks else selected


def _job(
    tenant: TenantSetup,
    name: str,
    description: str,
    selection: dg.AssetSelection,
    tags: dict[str, str] | None = None,
) -> AssetJob:
    return dg.define_asset_job(
        tenant.name(name),
        description=description,
        selection=selection,
        tags=tenant.tags | (tags or {}),
    )
