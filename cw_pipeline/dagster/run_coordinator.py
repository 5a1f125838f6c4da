"""The queue of runs, in which each tenant takes its own turns."""

from __future__ import annotations

import dagster as dg
from typing_extensions import override

from cw_pipeline.dagster.names import BACKFILL, BACKFILLS, CELERY_QUEUE, TENANT, picked_assets


class TenantQueue(dg.QueuedRunCoordinator):
    """Dagster's queue, which marks every run of a tenant with it on the way in.

    A job's runs are marked anyhow. A backfill runs without a job, and unmarked one tenant's years
    of history would keep all others' waiting, or end up at another tenant's Celery workers. Runs of
    assets that are no tenant's are left as they are.
    """

    @override
    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        run = context.dagster_run
        if tenant := run.tags.get(TENANT) or _tenant_of_picked(context):
            marks = {TENANT: tenant, CELERY_QUEUE: tenant}
            if BACKFILL in run.tags:
                marks[BACKFILLS] = tenant
            self._instance.add_run_tags(run.run_id, marks)
        return super().submit_run(context)


def _tenant_of_picked(context: dg.SubmitRunContext) -> str | None:
    """The tenant whose assets somebody has picked; None for a host's own, or for several's."""
    graph = context.workspace.asset_graph
    known = [key for key in picked_assets(context.dagster_run) if graph.has(key)]
    tenants = {graph.get(key).tags.get(TENANT) for key in known} - {None}
    return tenants.pop() if len(tenants) == 1 else None
