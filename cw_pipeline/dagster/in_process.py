"""What is asked for in this process, recorded in Dagster like what a schedule does."""

from __future__ import annotations

import os
import socket
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from cw_pipeline import composition
from cw_pipeline.dagster.asset_specs import audit_key, month_of, months_from, reread_key
from cw_pipeline.dagster.checks import (
    evaluate_tenant,
    key_check_keys,
    report_again,
    report_check_results,
    report_key_checks,
    report_tenant_checks,
)
from cw_pipeline.dagster.internals import (
    execute_here,
    keep_connections,
    without_step_output,
)
from cw_pipeline.dagster.jobs import (
    RECONCILE,
    REFRESH,
    REPORT_TABLES,
    REPORTS,
    REREAD,
    reconcile_job,
    refresh_job,
    report_columns_job,
    report_tables_job,
    reread_job,
)
from cw_pipeline.dagster.names import COMMAND, TRIGGER
from cw_pipeline.dagster.reconcile_assets import audit_op, proof_assets
from cw_pipeline.dagster.reporting_assets import table_event, view_events
from cw_pipeline.dagster.reports_api_assets import (
    OP,
    report_asset,
    report_key,
    report_table_assets,
    report_table_keys,
)
from cw_pipeline.dagster.resource import CommandRun, PipelineRun, tenant_run
from cw_pipeline.dagster.sync_assets import OP as SYNC
from cw_pipeline.dagster.sync_assets import config_from_request, sync_assets
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.dev import services
from cw_pipeline.errors import UnexpectedError
from cw_pipeline.model import SyncMode
from cw_pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cw_pipeline.dagster.internals import AssetJob
    from cw_pipeline.model import Audit, Entity, SyncResult
    from cw_pipeline.reporting import Refreshed
    from cw_pipeline.settings import Settings
    from cw_pipeline.sync.entity_sync import SyncRequest

_PROCESS = "cw/process"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # the caller has its own
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def run_recorded_sync(
    settings: Settings,
    entities: Sequence[Entity],
    plan: SyncRequest,
    on_report: Callable[[SyncResult], None],
) -> list[SyncResult]:
    """The report of each entity, given to `on_report` as it finishes, in the order they finish.

    The run, its materializations and its checks are in Dagster's UI like those of the schedule;
    it runs here, without a daemon. Raises the PipelineError that kept all entities from being read
    (ConfigError, WarehouseError, SourceDenied); one that kept a single entity is in its report.
    Raises KeyboardInterrupt after Ctrl-C, once what was read is committed.
    """
    caller = CommandRun(on_report, entities)
    tenant = TenantSetup(settings, entities, lambda: settings)
    made = dg.Definitions(
        # Without what else the code location knows of them: a run that names its assets would take
        # the checks of other steps along. Nor what describes them: the UI has it from there.
        assets=sync_assets(tenant, months_from(settings.backfill_start), described=False),
        jobs=[refresh_job(tenant, reporting=False)],
        resources={tenant.resource: tenant_run(tenant, caller)},
        executor=dg.in_process_executor,
    )
    keys = {tenant.key(entity.table) for entity in entities}
    config = {"ops": {SYNC: {"config": config_from_request(plan)}}, **_QUIET}
    tags = {}
    if plan.window is None and any(each.mode is SyncMode.INCREMENTAL for each in entities):
        tags["dagster/partition"] = month_of(datetime.now(UTC))  # the month it brings up to date
    run = _Run(made.resolve_job_def(REFRESH), config, tags, keys)
    return _run_and_record(settings, run, caller)


def run_recorded_reports(
    settings: Settings,
    names: Sequence[str],
    on_report: Callable[[SyncResult], None],
    *,
    full: bool = False,
) -> list[SyncResult]:
    """The same for reports of the reporting API that are kept as tables."""
    chosen = settings.model_copy(update={"reports": ",".join(names)})
    caller, tenant = CommandRun(on_report), TenantSetup(chosen, (), lambda: settings)
    made = dg.Definitions(
        assets=report_table_assets(tenant),
        jobs=[report_tables_job(tenant)],
        resources={tenant.resource: tenant_run(tenant, caller)},
        executor=dg.in_process_executor,
    )
    config = {"ops": {OP: {"config": {"full": full}}}, **_QUIET}
    run = _Run(made.resolve_job_def(REPORT_TABLES), config, {}, set(report_table_keys(tenant)))
    return _run_and_record(settings, run, caller)


def run_recorded_reconcile(
    settings: Settings,
    entities: Sequence[Entity],
    on_audit: Callable[[Audit], None],
    *,
    apply_deletes: bool = False,
) -> None:
    """Compares these entities with their tables, and reports what is proven of them.

    The run is in Dagster's UI. `on_audit` gets each audit as it comes. Raises the PipelineError
    that kept all entities from being compared, and KeyboardInterrupt after Ctrl-C.
    """
    tenant = TenantSetup(settings, entities, lambda: settings)
    config = {"ops": {audit_op(tenant): {"config": {"apply_deletes": apply_deletes}}}, **_QUIET}
    job = reconcile_job(tenant, judging=False)
    _record_proof(tenant, RECONCILE, job, config, audit_key(tenant), on_audit)


def run_recorded_reread(
    settings: Settings, entities: Sequence[Entity], on_audit: Callable[[Audit], None]
) -> None:
    """Reads the next slice of these entities again, and shows in Dagster's UI what drifted.

    `on_audit` gets each result as it comes. Raises as `run_recorded_reconcile` does.
    """
    tenant = TenantSetup(settings, entities, lambda: settings)
    job = reread_job(tenant, judging=False)
    _record_proof(tenant, REREAD, job, _QUIET, reread_key(tenant), on_audit)


def _record_proof(
    tenant: TenantSetup,
    name: str,
    job: AssetJob,
    config: Mapping[str, Any],
    asset: dg.AssetKey,
    on_audit: Callable[[Audit], None],
) -> None:
    """Runs a job that compares or reads again, and reports what it proves of the entities."""
    caller = CommandRun(lambda _: None, tenant.entities, on_audit)
    made = dg.Definitions(
        assets=proof_assets(tenant),
        jobs=[job],
        resources={tenant.resource: tenant_run(tenant, caller)},
        executor=dg.in_process_executor,
    )
    run = _Run(made.resolve_job_def(name), config, {}, {asset})
    _run_and_record(tenant.settings, run, caller, lambda instance: _judge(instance, tenant))


def run_recorded_report_columns(settings: Settings) -> None:
    """Snapshots which columns the tenant's reports have, as a run in Dagster's UI.

    Raises the PipelineError that kept it from being done.
    """
    caller = CommandRun(lambda _: None)
    tenant = TenantSetup(settings, (), lambda: settings)
    made = dg.Definitions(
        assets=[report_asset(tenant)],
        jobs=[report_columns_job(tenant)],
        resources={tenant.resource: tenant_run(tenant, caller)},
        executor=dg.in_process_executor,
    )
    run = _Run(made.resolve_job_def(REPORTS), _QUIET, {}, {report_key(tenant)})
    _run_and_record(settings, run, caller)


def follow_recorded_sync(settings: Settings, results: Sequence[SyncResult]) -> None:
    """Brings the reporting tables up to date that show what was read, as Dagster's UI then shows.

    The daemon does so in each refresh; where commands sync there may be none.
    """
    tables = Pipeline(settings).follow_sync([each.entity for each in results])
    changed = [
        each.entity
        for each in results
        if each.rows_inserted or each.rows_updated or each.rows_deleted
    ]
    if tables and changed:
        record_reports(settings, tables, changed)


def record_reports(
    settings: Settings, tables: Sequence[Refreshed], lists: Sequence[str], *, judge: bool = False
) -> None:
    """Shows in Dagster's UI what a refresh of tables changed, and the views that read these lists.

    `judge`: with what all checks say now, those of the facts too.
    """
    tenant = TenantSetup(settings, composition.entities(settings), lambda: settings)
    events = [table_event(tenant, table) for table in tables if table.rows or table.whole or judge]
    events += view_events(tenant, lists)
    with _instance(settings) as instance:
        for event in events:
            instance.report_runless_asset_event(event)
        if judge:
            report_key_checks(instance, tenant)
            _judge(instance, tenant)
        else:
            report_again(instance, key_check_keys(tenant))


def _judge(instance: dg.DagsterInstance, tenant: TenantSetup) -> None:
    """Reports what the checks of the tenant say that is not shown yet, as the schedule does."""
    with closing(PipelineRun(tenant, "", yielding=True)) as looking:
        report_check_results(instance, tenant, tenant.entities, looking.standings())
        report_tenant_checks(instance, tenant, evaluate_tenant(tenant, looking))


@dataclass(frozen=True, slots=True)
class _Run:
    job: dg.JobDefinition
    config: Mapping[str, Any]
    tags: dict[str, str]
    keys: set[dg.AssetKey]


def _run_and_record(
    settings: Settings,
    asked: _Run,
    caller: CommandRun,
    judge: Callable[[dg.DagsterInstance], None] = lambda _: None,
) -> list[SyncResult]:
    """Executes a run here: the results of its entities. Raises what ended it before them.

    That is an UnexpectedError for what no result tells.
    """
    job, here = asked.job, f"{socket.gethostname()}:{os.getpid()}"
    # Who runs it and where. Nobody retries it behind the caller's back.
    tags = {TRIGGER: COMMAND, _PROCESS: here, "dagster/max_retries": "0"}
    with _instance(settings) as instance:
        # Runs of commands that were killed: nobody else would ever end them.
        ours = dg.RunsFilter(tags={TRIGGER: COMMAND}, statuses=_UNFINISHED)
        for other in instance.get_runs(ours):
            host, _, pid = other.tags.get(_PROCESS, "").rpartition(":")
            if host == socket.gethostname() and not _lives(int(pid)):
                instance.report_run_failed(other, f"its process {pid} is gone")
        run, events = execute_here(
            instance,
            job,
            location=settings.code_location,
            config=asked.config,
            tags={**tags, **asked.tags},
            assets=asked.keys,
        )
        # Dagster takes each error for itself. What is foreseen is in the results, all else is not.
        errors = [error for event in events if (error := _unforeseen_error(event))]
        if caller.fatal is not None:
            raise caller.fatal
        if errors:
            raise UnexpectedError(
                f"{job.name}: unexpected {errors[0]}. Dagster keeps the traceback, in the log of"
                f" run {run.run_id}: if the message does not say what to do, please report it with"
                " that"
            )
        judge(instance)
    return caller.results


@contextmanager
def _instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance, that of the UI.

    But what a step prints is not kept: here it is the command's own progress. To keep it, Dagster
    starts two programs for each stream, which Ctrl-C at a terminal reaches too; they die of it
    with a traceback.
    """
    with services.environment_kept():
        services.prepared_home(settings)
        with dg.DagsterInstance.get() as ui, without_step_output(ui) as instance:
            keep_connections(instance)
            yield instance


def _unforeseen_error(event: dg.DagsterEvent) -> str:
    """The error of a step or a run that ended by none of our own failures; empty if it did not.

    Raises KeyboardInterrupt if it was interrupted: Dagster takes Ctrl-C for itself and ends the run
    in good order, without a word to us.
    """
    error, reason = None, None
    if event.is_step_failure:
        error = event.step_failure_data.error
    elif event.event_type is dg.DagsterEventType.RUN_FAILURE:
        error = event.job_failure_data.error  # there is none where a step failed
        reason = event.job_failure_data.failure_reason
    if event.event_type is dg.DagsterEventType.RUN_CANCELED or (
        reason is not None and reason.value == "UNEXPECTED_TERMINATION"
    ):
        raise KeyboardInterrupt
    if (
        error is not None
        and error.cause is not None
        and (error.cls_name or "").startswith("Dagster")
    ):
        error = error.cause  # Dagster's own error tells only which step it was
    if error is None or error.cls_name == dg.Failure.__name__:
        return ""
    return error.message.strip()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
