"""What is wrong now: steps that failed, checks that say so, data older than promised.

found: "refresh, step sync" ─► Trouble    it is wrong
       "freshness of time/entries"  ─► None       it is well
       (not there)                                nobody knows: being looked at, long ago
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from cw_pipeline import composition
from cw_pipeline.dagster.checks import FRESH, evaluate
from cw_pipeline.dagster.failures import step_failure_reason
from cw_pipeline.dagster.names import COMMAND, ROOT_RUN, TENANT, TRIGGER, WILL_RETRY
from cw_pipeline.dagster.resource import PipelineRun
from cw_pipeline.dagster.sync_assets import REASON, SINCE, TO_DO
from cw_pipeline.errors import PipelineError
from cw_pipeline.paths import cli_command
from cw_pipeline.warehouse import version_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cw_pipeline.dagster.internals import CheckRecord
    from cw_pipeline.dagster.tenant import TenantSetup

_LOOKED_BACK = timedelta(days=7)
_EVENTS = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
}
_RERUN = "open the run; `Re-execute from failure` runs what failed, and only that"
_LATE = (
    f"`{cli_command('status')}` tells how it stands: are the schedules on, and do their runs"
    " succeed?"
)
_UNREACHED = "see that the server of CW_WAREHOUSE_DSN runs and lets this machine in"


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is wrong: since when, why, what to do, and the run that tells more."""

    since: datetime
    why: str
    remedy: str = ""
    run_id: str | None = None


IncidentsByKey: TypeAlias = dict[str, Incident | None]


def find_incidents(
    instance: dg.DagsterInstance,
    tenant: TenantSetup,
    checks: Iterable[dg.AssetCheckKey],
) -> IncidentsByKey:
    """All that is known of one tenant, by what it is about."""
    return {
        **_runs(instance, tenant),
        **_checks(instance, sorted(checks)),
        **_late(tenant),
    }


def _runs(instance: dg.DagsterInstance, tenant: TenantSetup) -> IncidentsByKey:
    """The steps of the latest run of each schedule, and of each other run and its retries."""
    failed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], created_after=datetime.now(UTC) - _LOOKED_BACK
    )
    found: IncidentsByKey = {}
    seen: set[str] = set()
    for record in instance.get_run_records(failed):  # the latest first
        name, tags = _group(record.dagster_run)
        if name in seen or not _counts(record.dagster_run, tenant):
            continue
        seen.add(name)
        done = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], tags=tags)
        later = instance.get_run_records(done, limit=1)
        latest = later[0] if later and later[0].storage_id > record.storage_id else record
        found |= _steps(instance, name, latest)
    return found


def _counts(run: dg.DagsterRun, tenant: TenantSetup) -> bool:
    """Whether the run is this tenant's, nobody watches it anyhow, and it is not tried again."""
    return (
        tenant.owns(run) and run.tags.get(TRIGGER) != COMMAND and run.tags.get(WILL_RETRY) != "true"
    )


def _group(run: dg.DagsterRun) -> tuple[str, dict[str, str]]:
    """What the run repeats, and the tags by which to find the other times."""
    trigger = run.tags.get(TRIGGER)
    if trigger is not None:
        return trigger, {TRIGGER: trigger, TENANT: run.tags.get(TENANT, "")}
    root = run.tags.get(ROOT_RUN, run.run_id)
    return f"run {root[:8]}", {ROOT_RUN: root}


def _steps(instance: dg.DagsterInstance, name: str, record: dg.RunRecord) -> IncidentsByKey:
    """How each step of a run ended; how the run did, if that was no step's fault."""
    whole = f"{name} as a whole"
    found: IncidentsByKey = {whole: None}
    blamed = False
    for entry in instance.all_logs(record.dagster_run.run_id, of_type=_EVENTS):
        event = entry.get_dagster_event()
        at = datetime.fromtimestamp(entry.timestamp, UTC)
        if event.is_step_success:
            found[f"{name}, step {event.step_key}"] = None
        elif event.is_step_failure:
            blamed = True
            if why := _why(event):
                failed_run = Incident(at, why, _RERUN, entry.run_id)
                found[f"{name}, step {event.step_key}"] = failed_run
        elif not blamed and event.is_job_failure:
            found[whole] = Incident(at, event.message or "the run failed", _RERUN, entry.run_id)
    return found


def _why(event: dg.DagsterEvent) -> str | None:
    """Why a step failed. None: because of entities, of which the checks tell one by one."""
    said = event.step_failure_data.user_failure_data
    return None if said is not None and said.metadata else step_failure_reason(event)


def _checks(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> IncidentsByKey:
    """The latest result of each check; `fresh` is looked up where it stands instead."""
    watched = [key for key in keys if key.name != FRESH]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(watched)
    return dict(_judgements(latest.values()))


def _judgements(
    records: Iterable[CheckRecord],
) -> Iterator[tuple[str, Incident | None]]:
    for record in records:
        done = record.evaluation
        if record.status.value == "PLANNED" or done is None:
            continue
        name = f"check {record.key.name} of {'.'.join(record.key.asset_key.path)}"
        if done.passed or done.severity is not dg.AssetCheckSeverity.ERROR:
            yield name, None
        else:
            known = {key: value.value for key, value in done.metadata.items()}
            at = datetime.fromtimestamp(known.get(SINCE, record.create_timestamp), UTC)
            # Without what is each list's own, so that an outage is one message.
            why = str(known.get(REASON) or done.description or "it failed")
            yield name, Incident(at, why, str(known.get(TO_DO, "")), record.run_id)


def _late(tenant: TenantSetup) -> IncidentsByKey:
    """Which entities are older than promised, by the warehouse: also when nothing ran at all."""
    run = PipelineRun(tenant, "", yielding=True)
    try:
        # At once, where a connection pool would try for longer than a tick may last.
        if fault := version_fault(composition.dsn(run.settings())):
            return {"the warehouse": Incident(datetime.now(UTC), fault, _UNREACHED)}
        standings = run.standings()
    except PipelineError as error:
        return {"the warehouse": Incident(datetime.now(UTC), str(error), _UNREACHED)}
    found: IncidentsByKey = {"the warehouse": None}
    for entity in tenant.entities:
        standing = standings.get(entity.name)
        if standing is None or standing.complete_through is None:
            continue  # its first load is to come
        kept = evaluate(FRESH, entity, standing, tenant.settings)
        late = None if kept.passed else Incident(standing.complete_through, kept.description, _LATE)
        found[f"freshness of {entity.name}"] = late
    return found
