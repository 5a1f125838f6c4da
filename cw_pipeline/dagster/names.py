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
_OF_NO_JOB = ("__ASSET_JOB", "__ephemeral_asset_job__")  # what Dagster calls it: UI, `materialize`
CELERY_QUEUE = "dagster-celery/queue"  # where Celery runs it: at the tenant's own workers


def picked_assets(run: dg.DagsterRun) -> set[dg.AssetKey]:
    """The assets that somebody picked for a run, in the UI say, and those of picked checks.

    Empty for the run of a job, whose tags tell whose it is: these runs have none of a job's.
    """
    if not run.job_name.startswith(_OF_NO_JOB):
        return set()
    checks = run.asset_check_selection or ()
    return {*(run.asset_selection or ()), *(check.asset_key for check in checks)}
