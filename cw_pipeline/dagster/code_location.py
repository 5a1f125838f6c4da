"""All definitions of a tenant, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.dagster.asset_specs import months_from
from cw_pipeline.dagster.checks import entity_checks, key_checks, tenant_checks
from cw_pipeline.dagster.executors import executor
from cw_pipeline.dagster.jobs import MAINTENANCE, jobs
from cw_pipeline.dagster.live_events import live_event_sensor
from cw_pipeline.dagster.maintenance import maintenance_job
from cw_pipeline.dagster.notifications import alert_sensor
from cw_pipeline.dagster.reconcile_assets import proof_assets
from cw_pipeline.dagster.reporting_assets import reporting_assets
from cw_pipeline.dagster.reports_api_assets import report_asset, report_table_assets
from cw_pipeline.dagster.resource import tenant_run
from cw_pipeline.dagster.schedules import schedules
from cw_pipeline.dagster.sync_assets import sync_assets
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.dev import services

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cw_pipeline.dagster.internals import AssetJob
    from cw_pipeline.model import Entity
    from cw_pipeline.settings import Settings


def definitions(settings: Settings, entities: Sequence[Entity]) -> dg.Definitions:
    """The project's own code location: one tenant, whose names need no prefix.

    Embedded parts stand in for what the settings do not name. Connects to nothing.
    """
    tenant = TenantSetup(settings, entities, lambda: services.start_dev_services(settings))
    host = dg.Definitions(executor=executor(settings))
    return dg.Definitions.merge(host, tenant_definitions(tenant))


def tenant_definitions(tenant: TenantSetup) -> dg.Definitions:
    """Assets, checks, jobs, schedules and alerts of a tenant, to be merged with a host's."""
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *sync_assets(tenant, months_from(tenant.settings.backfill_start)),
        *proof_assets(tenant),
        report_asset(tenant),
        *report_table_assets(tenant),
        *reporting_assets(tenant),
    ]
    checks = [entity_checks(tenant), tenant_checks(tenant), key_checks(tenant)]
    computed = [each for each in assets if isinstance(each, dg.AssetsDefinition)]
    known = [spec.key for each in (*computed, *checks) for spec in each.check_specs]
    resources = {tenant.resource: tenant_run(tenant)}
    made = _resolve_jobs(assets, checks, jobs(tenant), resources)
    upkeep = maintenance_job(tenant)
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=[*made.values(), upkeep],
        schedules=schedules(tenant, {**made, MAINTENANCE: upkeep}),
        sensors=[alert_sensor(tenant, known), live_event_sensor(tenant)],
        resources=resources,
    )


def _resolve_jobs(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec],
    checks: Sequence[dg.AssetChecksDefinition],
    jobs: Mapping[str, AssetJob],
    resources: Mapping[str, dg.ResourceDefinition],
) -> dict[str, AssetJob]:
    """The jobs with what they select, found among the tenant's own assets.

    Left to Dagster, each is compared with all assets of the location: with 50 tenants, 350 jobs
    with 10,000 assets.
    """
    own = dg.Definitions(
        assets=assets, asset_checks=checks, jobs=[*jobs.values()], resources=resources
    )
    try:
        return {name: own.resolve_job_def(job.name) for name, job in jobs.items()}
    except dg.DagsterInvariantViolationError:
        # Where an instance has ended in this process, Dagster still asks it, until there is another
        # one. So the jobs are left to Dagster; what is wrong with them it says then.
        return dict(jobs)
