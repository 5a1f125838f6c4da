"""All that is used of Dagster's inside: what has no public name yet.

A release of Dagster may move any of it. `tests/unit/test_dagster_internals.py` fails then, and
nothing outside this file has to change.
"""

from __future__ import annotations

import json
import logging
import re
import time
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import StepMaterializationData
from dagster._core.execution.api import execute_run_iterator
from dagster._core.remote_origin import (  # type: ignore[attr-defined]
    LoadableTargetOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy import (
    String,
    TextClause,
    bindparam,
    column,
    delete,
    exists,
    func,
    select,
    table,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

AssetJob: TypeAlias = Any
"""What `dg.define_asset_job` returns, which has no public name."""

CheckRecord: TypeAlias = Any
"""The latest result of a check as stored, whose class has no public name either."""

StockSqliteStorage = DagsterSqliteStorage
"""Dagster's storage in SQLite files."""

POOLED = {"statement_timeout": 300_000, "pool_recycle": 3600, "max_overflow": 8}
"""How connections to Postgres are kept: milliseconds, seconds, and how many beside the one."""

_DEFINITIONS = "cw_pipeline.dagster.definitions"
_REPOSITORY = "__repository__"  # what Dagster calls the only one of a code location
_PLANNED = 20  # results looked through for one that has come
_BATCH = 200  # runs' bodies read at once, and snapshots deleted
_RUNS = table("runs", column("id"), column("snapshot_id"), column("run_body", String))
_SNAPSHOTS = table(
    "snapshots", column("id"), column("snapshot_id", String), column("snapshot_type")
)
_STRING_IN_JSON = re.compile(r'"([^"\\]+)"')
_SELDOM = 15  # seconds
_NO_LOGS = ("dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager")


def execute_here(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    *,
    location: str,
    config: Mapping[str, Any],
    tags: Mapping[str, str],
    assets: set[dg.AssetKey],
) -> tuple[dg.DagsterRun, list[dg.DagsterEvent]]:
    """Records a run of a job in an instance, and executes it in this process: it, and its events.

    The UI finds the job in the code location of this name, so that it can execute again what
    failed.
    """
    target = LoadableTargetOrigin(module_name=_DEFINITIONS, working_directory=str(Path.cwd()))
    origin = ManagedGrpcPythonEnvCodeLocationOrigin(target, location)
    run = instance.create_run_for_job(
        job,
        run_id=str(uuid4()),
        run_config=config,
        tags={**job.run_tags, **tags},
        asset_selection=assets,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(origin, _REPOSITORY), job.name),
    )
    return run, list(execute_run_iterator(InMemoryJob(job), run, instance))


def runless_materializations(
    instance: dg.DagsterInstance, found: Sequence[dg.AssetMaterialization]
) -> None:
    """Reports materializations of one asset that no step made, in one transaction where possible.

    Of several assets Postgres would show those of the last one alone.
    """
    events = [
        dg.EventLogEntry(  # type: ignore[no-untyped-call]
            error_info=None,
            level=logging.INFO,
            user_message="",
            run_id="",
            timestamp=time.time(),
            dagster_event=dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                event_specific_data=StepMaterializationData(each),
                job_name="",
            ),
        )
        for each in found
    ]
    storage: Any = instance.event_log_storage
    if not events:
        return
    if not hasattr(storage, "path_for_shard"):
        storage.store_event_batch(events)
        return
    # SQLite would open its files three times for each: minutes after a first load, of 112 lists
    # with ten years of months.
    with storage.index_transaction() as connection:
        ids = [
            connection.execute(storage.prepare_insert_event(event)).inserted_primary_key[0]
            for event in events
        ]
        if is_whole := hasattr(storage, "_store_asset_event_tags"):
            storage._store_asset_event_tags(connection, events, ids)  # noqa: SLF001 - as Postgres does
            storage._store_asset_event(connection, events[-1], ids[-1])  # noqa: SLF001
    if not is_whole:  # Dagster before 1.13, which has a transaction of its own for each
        storage.store_asset_event_tags(events, ids)
        storage.store_asset_event(events[-1], ids[-1])


def report_check_result(
    instance: dg.DagsterInstance,
    result: dg.AssetCheckEvaluation,
    about: dg.EventLogRecord | None,
) -> None:
    """Reports the result of a check, of this materialization, so that its asset's page shows it.

    Without the record Dagster goes by times, and those of SQLite are whole seconds.
    """
    if about is not None:
        # As Dagster's storages have it, which each of its versions reads: the class has no public
        # name.
        stored = {
            "__class__": "AssetCheckEvaluationTargetMaterializationData",
            "storage_id": about.storage_id,
            "run_id": about.run_id,
            "timestamp": about.timestamp,
        }
        target: Any = dg.deserialize_value(json.dumps(stored))
        result = dg.AssetCheckEvaluation(
            asset_key=result.asset_key,
            check_name=result.check_name,
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
            target_materialization_data=target,
        )
    instance.report_runless_asset_event(result)


def evaluation_of(
    context: dg.AssetExecutionContext, result: dg.AssetCheckResult
) -> dg.AssetCheckEvaluation:
    """A result as the event alone, for a step to yield.

    Of the result itself Dagster would make an output, too, which says "Yielded output ... of type
    Any" in the run's log, and warn of each check that was not selected.
    """
    return result.to_asset_check_evaluation(context.get_step_execution_context())


def last_evaluation(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey
) -> dg.AssetCheckEvaluation | None:
    """The latest result of a check, though a run that goes on, or has died, plans the next one."""
    records = instance.event_log_storage.get_asset_check_execution_history(check, _PLANNED)
    found = (each.evaluation for each in records if each.status.value != "PLANNED")
    return next((each for each in found if each is not None), None)


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Has the instance's storage keep its connections to Postgres open between events.

    Its engines open one for each event else, which takes half of the time that a sync with nothing
    to do spends. SQLite ignores it.
    """
    instance.optimize_for_webserver(**POOLED)


def look_seldom_for_new_code() -> None:
    """Has Dagster's programs in this process leave the code server alone, for `up`.

    There it serves the same definitions until all of them end. A daemon of Dagster's fetches them
    whole each minute, 2.7 MB, and a webserver and a daemon ask each second who serves them.
    """
    from dagster._daemon import controller  # noqa: PLC0415 - as much as all else imports here
    from dagster._grpc import server_watcher  # noqa: PLC0415

    # Not by RELOAD_WORKSPACE_INTERVAL, for which a backfill sleeps whose assets are gone, and keeps
    # all others waiting.
    daemon: Any = controller.DagsterDaemonController
    daemon.check_workspace_freshness = lambda _, loaded_at: loaded_at
    server_watcher.WATCH_INTERVAL = _SELDOM


def without_step_output(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same instance, that keeps nothing of what steps print."""
    ref: Any = instance.get_ref()
    module, name = _NO_LOGS
    quiet = ref.compute_logs_data._replace(module_name=module, class_name=name, config_yaml="{}")
    return dg.DagsterInstance.from_ref(ref._replace(compute_logs_data=quiet))


def delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Deletes a run, its events, what its steps printed, and the file that SQLite had of it."""
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    storage: Any = instance.event_log_storage
    if hasattr(storage, "path_for_shard"):
        for ending in ("", "-wal", "-shm"):
            Path(storage.path_for_shard(run_id) + ending).unlink(missing_ok=True)


def delete_unused_snapshots(instance: dg.DagsterInstance) -> None:
    """Deletes the snapshots of plans, and of selections of a job, that no run refers to any more.

    Dagster keeps one of each for ever: 25 kB for every set of lists that a refresh found changed.
    Those of whole jobs stay, because snapshots of selections refer to them.
    """
    storage: Any = instance.run_storage
    if not hasattr(storage, "connect"):  # one that keeps its runs elsewhere
        return
    unused, newest_run = _unused_snapshots(storage)
    names = []
    for name, kind in unused.items():
        job = None if kind == "EXECUTION_PLAN" else storage.get_job_snapshot(name)
        if job is None or job.lineage_snapshot is not None:
            names.append(name)
    # A run that has begun meanwhile may have taken one of them.
    has_taken = _RUNS.c.run_body.contains(_SNAPSHOTS.c.snapshot_id)
    taken = exists().where(_RUNS.c.id > newest_run, has_taken)
    for start in range(0, len(names), _BATCH):
        some = _SNAPSHOTS.c.snapshot_id.in_(names[start : start + _BATCH])
        with storage.connect() as connection:
            connection.execute(delete(_SNAPSHOTS).where(some, ~taken))


def _unused_snapshots(storage: Any) -> tuple[dict[str, str], int]:  # noqa: ANN401 - Dagster's
    """The snapshots that no run names, with their kinds, and the id of the newest run of all.

    One that is newer than all that runs have is none: it may be of a run that is just being made.
    """
    made = _SNAPSHOTS.join(_RUNS, _RUNS.c.snapshot_id == _SNAPSHOTS.c.snapshot_id)
    last_made = select(func.max(_SNAPSHOTS.c.id)).select_from(made)
    older = select(_SNAPSHOTS.c.snapshot_id, _SNAPSHOTS.c.snapshot_type).where(
        _SNAPSHOTS.c.id < bindparam("last_made")
    )
    runs = select(_RUNS.c.id, _RUNS.c.snapshot_id, _RUNS.c.run_body).order_by(_RUNS.c.id)
    newest = 0
    with storage.connect() as connection:
        found = connection.execute(older, {"last_made": connection.execute(last_made).scalar()})
        unused = {row.snapshot_id: row.snapshot_type for row in found}
        while some := connection.execute(runs.where(_RUNS.c.id > newest).limit(_BATCH)).all():
            newest = some[-1].id
            for _, job, body in some:
                for named in (job, *_STRING_IN_JSON.findall(body)):
                    unused.pop(named, None)
    return unused, newest


def delete_old_events(
    instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey], before: datetime
) -> None:
    """Deletes what these assets have from before a moment and from no run, but for what is latest.

    That is results of checks, of runs too, and runless events, which Dagster keeps for ever. What
    stays of each asset: the latest event of a kind and month, and the latest result of a check.
    """
    storage: Any = instance.event_log_storage
    if not hasattr(storage, "index_connection"):  # an instance in memory has none
        return
    parameters = {
        "keys": [key.to_string() for key in keys],
        "before": f"{before.astimezone(UTC):%Y-%m-%d %H:%M:%S}",  # as SQLite stores it, too
    }
    if not parameters["keys"]:
        return
    with storage.index_connection() as connection:
        for statement in (_EVENTS_OF_RESULTS, _OLD_RESULTS, _TAGS_OF_EVENTS, _OLD_EVENTS):
            connection.execute(_of_keys(statement), parameters)
    if hasattr(storage, "path_for_shard"):  # SQLite has runless events a second time, for nobody
        with storage.run_connection("") as connection:
            connection.execute(_of_keys(_COPIES_OF_EVENTS), parameters)


def _of_keys(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("keys", expanding=True))


_IS_OLD_RESULT = """
asset_key in :keys and create_timestamp < :before and id not in (
  select max(id) from asset_check_executions where asset_key in :keys
  group by asset_key, check_name)
"""
_OLD_RESULTS = f"delete from asset_check_executions where {_IS_OLD_RESULT}"  # noqa: S608
_EVENTS_OF_RESULTS = f"""
delete from event_logs where run_id = '' and id in (
  select evaluation_event_storage_id from asset_check_executions where {_IS_OLD_RESULT})
"""  # noqa: S608
_IS_OLD_EVENT = """
run_id = '' and asset_key in :keys and timestamp < :before and id not in (
  select max(id) from event_logs where asset_key in :keys
  group by asset_key, dagster_event_type, partition)
"""
_OLD_EVENTS = f"delete from event_logs where {_IS_OLD_EVENT}"  # noqa: S608
_TAGS_OF_EVENTS = f"""
delete from asset_event_tags where event_id in (select id from event_logs where {_IS_OLD_EVENT})
"""  # noqa: S608
_COPIES_OF_EVENTS = """
delete from event_logs where timestamp < :before and (
  asset_key in :keys or asset_key is null and dagster_event_type = 'ASSET_CHECK_EVALUATION')
"""
