"""The queue of runs, in which each tenant takes its own turns."""

from __future__ import annotations

import dagster as dg
from typing_extensions import override

from cw_pipeline.dagster.names import BACKFILL, BACKFILLS, CELERY_QUEUE, TENANT, tenant_of


class TenantQueue(dg.QueuedRunCoordinator):
    """Dagster's queue, which marks every run with its tenant on the way in.

    A job's runs are marked anyhow. A backfill runs without a job, and unmarked one tenant's years
    of history would keep all others' waiting, or end up at another tenant's Celery workers.
    """

    @override
    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        run = context.dagster_run
        if tenant := tenant_of(run):
            marks = {TENANT: tenant, CELERY_QUEUE: tenant}
            if BACKFILL in run.tags:
                marks[BACKFILLS] = tenant
            self._instance.add_run_tags(run.run_id, marks)
        return super().submit_run(context)
