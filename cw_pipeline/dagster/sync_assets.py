"""An asset for each entity, and the step that syncs those of a run and says what came of each.

One step for all: the tables of the reporting schema follow what was read in the same process,
although a list failed, and a run has one set of options. They are another step's assets, because
inputs with months would have to be told of in runs that have none.

Each result of the check `sync_ok` carries since when the list fails and in how many runs, so the
next one counts on: no look at the results before, and none that `maintenance` may have deleted.

Without postponed annotations: Dagster reads a step's as objects.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import dagster as dg
from pydantic import Field

from cw_pipeline import composition
from cw_pipeline.dagster import asset_specs
from cw_pipeline.dagster.asset_specs import report_covered_months, window_of_months, within
from cw_pipeline.dagster.checks import key_check_keys, report_again, report_check_results
from cw_pipeline.dagster.internals import evaluation_of, last_evaluation
from cw_pipeline.dagster.names import BACKFILL, TRIGGER
from cw_pipeline.dagster.reporting_assets import table_event, view_events
from cw_pipeline.dagster.resource import PipelineRun, run_of
from cw_pipeline.dagster.tenant import TenantSetup
from cw_pipeline.errors import ConfigError, EntityBusy, PipelineError
from cw_pipeline.model import Entity, SyncMode, SyncResult, Window
from cw_pipeline.reporting import tables_reading
from cw_pipeline.results import explain_failure
from cw_pipeline.sync.context import SyncContext
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.warehouse.status import watermarks
from cw_pipeline.wording import count, moment

RUNS, SINCE = "failed_runs", "failing_since"
REASON, TO_DO = "reason", "to_do"
Mode = Literal["auto", "incremental", "window", "full"]
Result: TypeAlias = dg.AssetCheckEvaluation

OP = "sync"
"""The plain name of the step; run config names it."""
MONTHS_A_RUN = 12  # a backfill of years: a run each, so that it can be resumed and others cut in


class SyncConfig(dg.Config):
    """How to read. Everything has a default: nothing need be filled in."""

    mode: Mode = Field(
        "auto",
        description=(
            "auto: the months that were selected are read again; without any, what changed since"
            " the watermark. incremental: what changed since the watermark. window: the months, or"
            " `since` and `until`. full: everything, once more, of the lists that are selected; of"
            " all lists: materialize `full_sync`."
        ),
    )
    since: str | None = Field(
        None, description="Start of a window that is finer than months, such as 2025-06-10T08:00Z."
    )
    until: str | None = Field(None, description="Its end, exclusive. Without: up to now.")


def sync_assets(
    tenant: TenantSetup, months: dg.TimeWindowPartitionsDefinition, *, described: bool = True
) -> list[dg.AssetsDefinition]:
    """The assets of the tenant's entities, in one definition; none where there is no entity.

    `described`: with all that the UI says of them, which a run has no use for.
    """
    by_key = {tenant.key(entity.table): entity for entity in tenant.entities}
    if not by_key:
        return []
    if described:
        specs = [asset_specs.asset_spec(tenant, entity, months) for entity in tenant.entities]
        specs.append(asset_specs.full_sync_spec(tenant))
    else:
        of_months = {key for key, each in by_key.items() if each.mode is SyncMode.INCREMENTAL}
        specs = [
            dg.AssetSpec(key, skippable=True, partitions_def=months if key in of_months else None)
            for key in (*by_key, tenant.key(asset_specs.FULL_SYNC))
        ]

    @dg.multi_asset(
        **tenant.op(OP, asks=True),
        description=(
            "Brings lists up to date, several at a time, and then the tables of the reporting"
            " schema that show them."
        ),
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(
                asset_specs.SYNC_OK, asset=key, description="The last run could read and load it"
            )
            for key in by_key
        ],
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=MONTHS_A_RUN),
    )
    def sync(context: dg.AssetExecutionContext, config: SyncConfig) -> Iterator[Result]:
        yield from SyncStep(context, run_of(tenant, context), months, by_key).results(config)

    return [sync]


@dataclass(slots=True)
class SyncStep:
    """The sync of some entities, by asset key, as a step of a Dagster run.

    `selected` are those to be synced: a check that is run alone means its asset's sync, too. Of the
    `materialized` ones materializations are logged: of all in a full sync. The run was launched for
    `asked_months`.
    """

    context: dg.AssetExecutionContext
    run: PipelineRun
    months: dg.TimeWindowPartitionsDefinition
    entities: Mapping[dg.AssetKey, Entity]
    is_full_sync: bool = field(init=False)
    materialized: Collection[dg.AssetKey] = field(init=False)
    selected: dict[dg.AssetKey, Entity] = field(init=False)
    asked_months: list[str] = field(init=False)
    watermarks: dict[str, datetime | None] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)
    every_month: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    loaded: list[dg.AssetKey] = field(default_factory=list)
    whole: list[SyncResult] = field(default_factory=list)
    refreshed: bool = False

    def __post_init__(self) -> None:
        context, picked = self.context, set(self.context.selected_asset_keys)
        self.is_full_sync = self.run.tenant.key(asset_specs.FULL_SYNC) in picked
        self.materialized = self.entities.keys() if self.is_full_sync else picked
        checked = {check.asset_key for check in context.selected_asset_check_keys}
        wanted = {*self.materialized, *checked}
        self.selected = {key: entity for key, entity in self.entities.items() if key in wanted}
        self.asked_months = []
        if context.has_partition_key:
            self.asked_months = [context.partition_key]
        elif context.has_partition_key_range:
            asked = context.partition_key_range
            self.asked_months = list(self.months.get_partition_keys_in_range(asked))

    def results(self, config: SyncConfig) -> Iterator[Result]:
        """The outcome of each selected entity as it finishes. Raises dg.Failure if some failed.

        What succeeded is kept and shown as such; a re-execution from failure runs the rest.
        """
        held: Result | None = None
        for result in self._sync(config):
            if held is not None:
                yield held
            held = result
        self._log_full_sync()
        if self.run.caller is None:  # a command brings the tables up to date itself
            self._refresh_tables()
        if held is not None:
            yield held  # events that are logged are stored with the next result, or lost
        if self.loaded:
            # What is promised of the lists that were materialized, and whether it holds: a
            # materialization hides the results of before.
            entities = [self.entities[key] for key in self.loaded]
            report_check_results(
                self.context.instance, self.run.tenant, entities, self.run.standings()
            )
        if self.refreshed:
            report_again(self.context.instance, key_check_keys(self.run.tenant))
        if self.failures:
            of = f"of {count(len(self.selected), 'entity', 'entities')}"
            raise self.run.failure(self.context, self.failures, of)

    def _sync(self, config: SyncConfig) -> Iterator[Result]:
        """The outcome of each as it finishes; then of those that an error kept from being tried."""
        keys = {entity.name: key for key, entity in self.selected.items()}
        try:
            plan = self._plan(config)
            engine = self.run.engine()
            with engine.database.connection() as connection:
                self.watermarks = watermarks(connection, engine.database.schema)
            for report in self.run.pipeline().run([*self.selected.values()], plan):
                self.run.report_result(report)
                key = keys[report.entity]
                if report.failure is not None:
                    yield self._result_of_failure(key, report.failure, report)
                else:
                    yield self._result_of_success(key, report, plan, engine)
        except PipelineError as error:
            # The keys were refused, the warehouse is away, the config makes no sense: nothing more
            # can come of this run.
            self.run.give_up(error)
            for key, entity in self.selected.items():
                if entity.name not in self.reported:
                    yield self._result_of_failure(key, error)

    def _plan(self, config: SyncConfig) -> SyncRequest:
        if self.is_full_sync:
            return SyncRequest(full=True)
        months = self.asked_months
        plan = request_from_config(
            config,
            window_of_months(months[0], months[-1]) if months else None,
            datetime.now(UTC),
        )
        if plan.window is None and BACKFILL in self.context.run.tags and months:
            raise dg.Failure(
                f"mode {config.mode} does not read the months that were selected. Leave it at auto"
                f" in a backfill; to read lists whole, materialize `{asset_specs.FULL_SYNC}`",
                allow_retries=False,
            )
        return plan

    def _result_of_success(
        self, key: dg.AssetKey, report: SyncResult, plan: SyncRequest, engine: SyncContext
    ) -> Result:
        """The check `sync_ok`. The materialization is logged, not yielded.

        Of an output Dagster would keep the metadata once more, and three rows.
        """
        entity = self.entities[key]
        self.reported.add(entity.name)
        has_changed = report.rows_inserted or report.rows_updated or report.rows_deleted
        if has_changed:
            self.changed.add(entity.name)
        since = self.watermarks.get(entity.name)
        whole = plan.full or (plan.window is None and since is None)
        if whole:
            self.whole.append(report)
        # A command's materializations of what did not change wait for the schedule `promises`.
        self.loaded += [key] if self.run.caller is None or has_changed else []
        for warning in report.warnings:
            self.context.log.warning("%s: %s", report.entity, warning)
        if key in self.materialized:
            months: list[str | None] = []
            if entity.mode is SyncMode.INCREMENTAL:
                self._show_covered_months(key, plan, since)
                months += self.asked_months
            metadata = asset_specs.sync_metadata(report, entity, engine, whole=whole)
            for month in months or [None]:
                self.context.log_event(
                    dg.AssetMaterialization(key, metadata=metadata, partition=month)
                )
        return self._check(key, report)

    def _result_of_failure(
        self, key: dg.AssetKey, error: Exception, report: SyncResult | None = None
    ) -> Result:
        entity = self.entities[key]
        self.reported.add(entity.name)
        if not isinstance(error, EntityBusy):  # whoever holds the entity brings it up to date
            self.failures[entity.name] = error
        return self._check(key, report or error)

    def _check(self, key: dg.AssetKey, outcome: SyncResult | Exception) -> Result:
        """The check `sync_ok` of an entity.

        Also where it was not selected: an execution of what failed leaves out the checks that were
        evaluated, and the entity would stay red for ever.
        """
        name = self.entities[key].name
        through = self.watermarks.get(name)
        result = sync_ok_result(self.context.instance, key, name, outcome, through)
        return evaluation_of(self.context, result)

    def _show_covered_months(
        self, key: dg.AssetKey, plan: SyncRequest, watermark: datetime | None
    ) -> None:
        """Shows the months that this pass covered, beside those it was launched for, as loaded."""
        now = datetime.now(UTC)
        if plan.window is None:
            covered = Window(None if plan.full else watermark, now)
        else:
            covered = plan.window if plan.closed else Window(plan.window.since, now)
        if not self.every_month:  # costs as much as a request, so once for all entities
            self.every_month += self.months.get_partition_keys(current_time=now)
        months = [
            each for each in within(self.every_month, covered, now) if each not in self.asked_months
        ]
        report_covered_months(self.context.instance, key, months, self.context.run.run_id)

    def _log_full_sync(self) -> None:
        """Shows that every list there is was read whole, as in a first load, if it was."""
        tenant = self.run.tenant
        read = {report.entity for report in self.whole}
        wanted = {entity.name for entity in composition.entities(tenant.settings)}
        if self.is_full_sync and (left := wanted - read - self.failures.keys()):
            self.context.log.warning(
                "no full sync: others were reading %s; materialize `%s` once more",
                ", ".join(sorted(left)),
                asset_specs.FULL_SYNC,
            )
        if not read or not read.issuperset(wanted):
            return
        sums = {
            name: sum(getattr(report, name) for report in self.whole)
            for name in ("rows_read", "rows_inserted", "rows_updated", "rows_deleted", "requests")
        }
        event = dg.AssetMaterialization(
            tenant.key(asset_specs.FULL_SYNC), metadata={"lists": len(read), **sums}
        )
        self.context.log_event(event)

    def _refresh_tables(self) -> None:
        """Brings the tables up to date that show what was read, although lists failed."""
        tenant, context = self.run.tenant, self.context
        wanted = tables_reading(self.changed)
        if not wanted:
            return
        try:
            publish = TRIGGER in context.run.tags  # by a schedule; else only where it was done
            tables = self.run.pipeline().refresh_tables(wanted, publish=publish)
        except PipelineError as error:
            self.failures["reporting"] = error
            return
        for table in tables:
            if table.rows or table.whole:
                context.log_event(table_event(tenant, table))
        if tables:
            self.refreshed = True
            for event in view_events(tenant, self.changed):
                context.log_event(event)


def request_from_config(config: SyncConfig, selected: Window | None, now: datetime) -> SyncRequest:
    """What the sync is asked to do; `selected` spans the months that the run was launched for.

    Raises ConfigError for what makes no sense together.
    """
    mode = config.mode
    if mode == "auto":
        asked = selected is not None or config.since is not None or config.until is not None
        mode = "window" if asked else "incremental"
    if mode == "full":
        return SyncRequest(full=True)
    if mode == "incremental":
        return SyncRequest()
    since = _instant("since", config.since) or (selected.since if selected else None)
    if since is None:
        raise ConfigError("mode window: select months, or give `since`")
    until = _instant("until", config.until) or (selected.until if selected else None)
    if since >= (until or now):
        raise ConfigError(f"an empty window: since {since} is not before until {until or now}")
    closed = until is not None and until <= now
    return SyncRequest(window=Window(since, until if closed and until else now), closed=closed)


def _instant(name: str, text: str | None) -> datetime | None:
    """The moment a text means; UTC unless it says otherwise."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text!r} is no time. Write 2025-06-10T08:00:00Z") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def config_from_request(plan: SyncRequest) -> dict[str, str]:
    """The config that asks for a plan."""
    if plan.window is None:
        return {"mode": "full" if plan.full else "incremental"}
    window = plan.window
    config = {"mode": "window"}
    if window.since is not None:
        config["since"] = window.since.isoformat()
    if plan.closed:
        config["until"] = window.until.isoformat()
    return config


@dataclass(frozen=True, slots=True)
class Streak:
    """Since when a list fails, and in how many runs on end."""

    since: datetime
    runs: int

    def metadata(self) -> dict[str, Any]:
        """What the next result counts on from; the UI plots the runs."""
        return {RUNS: self.runs, SINCE: dg.MetadataValue.timestamp(self.since)}


def sync_ok_result(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    entity: str,
    outcome: SyncResult | Exception,
    complete_through: datetime | None = None,
) -> dg.AssetCheckResult:
    """The check `sync_ok` of an entity that was read, or of one that could not be tried at all.

    The description is the sentence; the request and the error's own words are in the metadata.
    """
    report = None if isinstance(outcome, Exception) else outcome
    error = outcome if isinstance(outcome, Exception) else outcome.failure
    figures: dict[str, Any] = asset_specs.sync_figures(report) if report else {}
    busy = isinstance(error, EntityBusy)
    description: str | None = None
    metadata: dict[str, Any] = {}
    if error is not None:
        description, metadata = _tell(instance, key, entity, error, report, complete_through)
    elif report is not None and report.warnings:
        description = "; ".join(report.warnings)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=asset_specs.SYNC_OK,
        passed=error is None,
        severity=dg.AssetCheckSeverity.WARN if busy else dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata=figures | metadata,
    )


def _tell(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    entity: str,
    error: Exception,
    report: SyncResult | None,
    complete_through: datetime | None,
) -> tuple[str, dict[str, Any]]:
    """The sentence of a failure, and what is one click away."""
    before = _streak(instance, dg.AssetCheckKey(key, asset_specs.SYNC_OK))
    why, to_do = explain_failure(entity, error)
    more: dict[str, Any] = {"error": type(error).__name__, REASON: why}
    if isinstance(error, EntityBusy):  # it was not tried: what failed before still does
        return why, more | (before.metadata() if before else {})
    now = Streak(before.since, before.runs + 1) if before else Streak(datetime.now(UTC), 1)
    parts = [why, _how_often(now, report)]
    if complete_through is not None:
        parts.append(f"its data is complete through {moment(complete_through)}")
    if to_do:
        parts.append(to_do)
        more[TO_DO] = to_do
    if request := getattr(error, "request", ""):
        more |= {"request": request, "message": str(error)}
    return "; ".join(parts), more | now.metadata()


def _how_often(streak: Streak, report: SyncResult | None) -> str:
    tries = ""
    if report is not None and report.requests:
        tries = f", {count(report.requests, 'request')} in this one"
    runs = "in this run" if streak.runs == 1 else f"in {streak.runs:,} runs on end"
    return f"failing since {moment(streak.since)}, {runs}{tries}"


def _streak(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> Streak | None:
    """How long the list had failed before this run; None if it had not."""
    found = last_evaluation(instance, check)
    if found is None or found.passed:
        return None
    runs, since = found.metadata.get(RUNS), found.metadata.get(SINCE)
    if isinstance(runs, dg.IntMetadataValue) and isinstance(since, dg.TimestampMetadataValue):
        return Streak(datetime.fromtimestamp(since.value, UTC), runs.value or 0)
    return None
