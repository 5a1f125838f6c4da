"""The tags of runs: what launched them, and whose they are. Light: webserver and daemon load it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

TRIGGER = "cw/trigger"  # the schedule that launched the run, or
COMMAND = "command"  # a command, which runs it by itself
TENANT = "cw/tenant"  # whose it is, where one Dagster serves several tenants
REFRESHES = "cw/refresh"  # dagster.yaml lets one run of each tenant with such a tag go at once
BACKFILL = "dagster/backfill"  # Dagster's own, and those below
RETRY = "dagster/retry_on_asset_or_op_failure"
WILL_RETRY = "dagster/will_retry"
ROOT_RUN = "dagster/root_run_id"
BACKFILLS = "cw/backfill"
CELERY_QUEUE = "dagster-celery/queue"  # where Celery runs it: at the tenant's own workers


def tenant_of(run: dg.DagsterRun) -> str | None:
    """The tenant of a run. Assets picked in the UI run without a job, so without its tags."""
    if TENANT in run.tags:
        return run.tags[TENANT]
    picked = [*(run.asset_selection or ())]
    picked += [check.asset_key for check in run.asset_check_selection or ()]
    if not picked:
        return None
    schema = picked[0].path[0]
    return "connectwise" if schema == "reporting" else schema.removesuffix("_reporting")
