"""When what runs. All are on from the start, and off by a click.

On, because a warehouse that nobody remembered to switch on is stale, and a first look at the UI
should see it work. None of them can do harm: they read within the tenant's request budget, a pass
repeats itself freely, and deletes stand under a guard. A run that is still going makes the next one
skip; what was skipped is read by the one after, which goes on from the watermark.

Each tenant has a minute of its own, from its prefix or schema, so that fifty do not start at once.

Without postponed annotations: Dagster reads a schedule's as objects.
"""

import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import dagster as dg

from cw_pipeline.dagster.asset_specs import SYNC_OK, month_of
from cw_pipeline.dagster.checks import evaluate_tenant, report_check_results, report_tenant_checks
from cw_pipeline.dagster.internals import AssetJob, last_evaluation
from cw_pipeline.dagster.jobs import (
    MAINTENANCE,
    PROMISES,
    RECONCILE,
    REFRESH,
    REPORT_TABLES,
    REPORTING_KEYS,
    REPORTS,
    REREAD,
)
from cw_pipeline.dagster.names import REFRESHES, TRIGGER
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.sync_assets import OP
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.dagster.watch import ChangeWatch
from cw_pipeline.errors import PipelineError
from cw_pipeline.model import Entity, SyncMode
from cw_pipeline.wording import count

Job: TypeAlias = dg.JobDefinition | AssetJob

REFERENCE = "reference"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_URGENT = {"dagster/priority": "10"}  # before a backfill that waits in the queue


def schedules(
    tenant: TenantSetup,
    jobs: Mapping[str, Job],
) -> list[dg.ScheduleDefinition]:
    """The schedules over the tenant's entities. `jobs` by their plain names."""
    entities = tenant.entities
    often = own_minute(tenant.settings.refresh_cron, tenant.identity)
    whole = [entity for entity in entities if entity.mode is SyncMode.FULL]
    changing = [entity for entity in entities if entity.mode is not SyncMode.FULL]
    made = [
        _promises(tenant, jobs[PROMISES]),
        _plain(tenant, "reconcile", _nightly(tenant, 2, 17), jobs[RECONCILE]),
        _plain(tenant, "reread", _nightly(tenant, 3, 17), jobs[REREAD]),
        _plain(tenant, "report_columns", _nightly(tenant, 4, 47), jobs[REPORTS]),
        _plain(tenant, REPORTING_KEYS, _nightly(tenant, 5, 57), jobs[REPORTING_KEYS]),
        _plain(tenant, MAINTENANCE, _nightly(tenant, 6, 37), jobs[MAINTENANCE]),
    ]
    if REPORT_TABLES in jobs:
        made.append(_plain(tenant, REPORT_TABLES, often, jobs[REPORT_TABLES]))
    refresh = jobs[REFRESH]
    if changing:
        made.append(_refresh("refresh", often, refresh, tenant, changing))
    if whole:  # lists that show no changes; many, if all of them are chosen
        made.append(_whole(REFERENCE, _nightly(tenant, 5, 27), refresh, tenant, whole))
    return made


def own_minute(cron: str, name: str) -> str:
    """A cron line in which the minute `H` or `H/15` is the name's own, as Jenkins has it.

    `H/15` begins within the first quarter of the hour. The same name always has the same minute.
    """

    def minutes(found: re.Match[str]) -> str:
        step = int(found[1] or 60)
        first = zlib.crc32(name.encode()) % min(step, 60)
        return str(first) if found[1] is None else f"{first}-59/{step}"

    return re.sub(r"^\s*H(?:/([1-9]\d?))?(?=\s)", minutes, cron)


def _nightly(tenant: TenantSetup, hour: int, minute: int) -> str:
    """Once a night, at this time or within the hour after it, by the tenant's minute."""
    late = 60 * hour + minute + int(own_minute("H *", tenant.identity).split()[0])
    return f"{late % 60} {late // 60} * * *"


def _promises(tenant: TenantSetup, job: Job) -> dg.ScheduleDefinition:
    """Judges every hour, in the tick: a result that is shown already costs nothing."""

    @dg.schedule(
        name=tenant.name(PROMISES),
        job=job,
        cron_schedule=own_minute("H * * * *", tenant.identity),
        description=(
            "Looks in the warehouse whether what is promised holds, and reports the results that"
            " changed, and those of what was materialized since."
        ),
        default_status=_status(tenant),
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        run = PipelineRun(tenant, "", yielding=True)
        try:
            standings, of_tenant = run.standings(), evaluate_tenant(tenant, run)
        except PipelineError:
            return dg.RunRequest(tags={TRIGGER: PROMISES})  # it fails where people look
        finally:
            run.close()
        reported = report_check_results(context.instance, tenant, tenant.entities, standings)
        reported += report_tenant_checks(context.instance, tenant, of_tenant)
        return dg.SkipReason(f"{count(reported, 'result')} changed; the others are as they were")

    return tick


def _plain(tenant: TenantSetup, name: str, cron: str, job: Job) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=tenant.name(name),
        job=job,
        cron_schedule=cron,
        description=job.description,
        default_status=_status(tenant),
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if _going(context, tenant, name):
            return dg.SkipReason(f"the last {name} is still going")
        return dg.RunRequest(tags={TRIGGER: name})

    return tick


def _refresh(
    name: str, cron: str, job: Job, tenant: TenantSetup, entities: Sequence[Entity]
) -> dg.ScheduleDefinition:
    """A refresh of what changed since each list's watermark: no run where nothing did.

    It is launched for the current month, which it brings up to date; further months that it finds
    changed, after an outage or in a first load, it reports itself.
    """
    watch = ChangeWatch(tenant)
    names = [entity.name for entity in entities]

    @dg.schedule(
        name=tenant.name(name),
        job=job,
        cron_schedule=cron,
        description=(
            "Asks each list what changed since its watermark, and reads those where something did."
        ),
        default_status=_status(tenant),
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if _going(context, tenant, name):
            return dg.SkipReason(f"the last {name} is still going")
        try:
            found = watch.look(names)
        except PipelineError:
            # A run of all of them fails at once, for the same reason, and where people look.
            return _request(context, tenant, name, entities)
        if found is None:
            return dg.SkipReason("the last look what changed has not ended yet")
        changes, tables = found
        read = {*changes.changed} | _failed_last(context.instance, tenant, entities)
        changed = [entity for entity in entities if entity.name in read]
        if not changed and not tables:
            return dg.SkipReason(str(changes))
        return _request(context, tenant, name, changed, tables)

    return tick


def _whole(
    name: str, cron: str, job: Job, tenant: TenantSetup, entities: Sequence[Entity]
) -> dg.ScheduleDefinition:
    """A pass over lists that do not show what changed."""

    @dg.schedule(
        name=tenant.name(name),
        job=job,
        cron_schedule=cron,
        description="Reads lists whole that do not show what changed.",
        default_status=_status(tenant),
    )
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if _going(context, tenant, name):
            return dg.SkipReason(f"the last {name} is still going")
        return _request(context, tenant, name, entities)

    return tick


def _request(
    context: dg.ScheduleEvaluationContext,
    tenant: TenantSetup,
    name: str,
    entities: Sequence[Entity],
    tables: Collection[str] = (),
) -> dg.RunRequest:
    """A run that reads these entities from their watermarks on; tables that show them follow.

    `tables` are further ones of the reporting schema: the day has changed, or a command has read.
    """
    keys = [tenant.key(entity.table) for entity in entities]
    dated = any(entity.mode is SyncMode.INCREMENTAL for entity in entities)
    return dg.RunRequest(
        run_config={"ops": {tenant.name(OP): {"config": {"mode": "incremental"}}}},
        asset_selection=[*keys, *map(tenant.reporting_key, sorted(tables))],
        asset_check_keys=[dg.AssetCheckKey(key, SYNC_OK) for key in keys],
        partition_key=month_of(context.scheduled_execution_time) if dated else None,
        tags={TRIGGER: name, REFRESHES: tenant.identity, **_URGENT},
    )


def _going(context: dg.ScheduleEvaluationContext, tenant: TenantSetup, name: str) -> bool:
    tags = {TRIGGER: name} | tenant.tags  # another tenant's says nothing
    going = dg.RunsFilter(tags=tags, statuses=_UNFINISHED)
    return context.instance.get_runs_count(going) > 0


def _failed_last(
    instance: dg.DagsterInstance, tenant: TenantSetup, entities: Sequence[Entity]
) -> set[str]:
    """Entities whose last pass failed: only another pass takes that back."""
    names = {dg.AssetCheckKey(tenant.key(each.table), SYNC_OK): each.name for each in entities}
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(names))
    planned = [check for check, record in latest.items() if record.status.value == "PLANNED"]
    found = {check: each.evaluation for check, each in latest.items() if check not in planned}
    # Planned by a run that died, or that is not of this schedule: what there was before it.
    found |= {check: last_evaluation(instance, check) for check in planned}
    return {names[check] for check, last in found.items() if last is not None and not last.passed}


def _status(tenant: TenantSetup) -> dg.DefaultScheduleStatus:
    on = dg.DefaultScheduleStatus
    return on.RUNNING if tenant.running else on.STOPPED
