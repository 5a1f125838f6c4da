"""The step of a run: lists synced, each one's outcome told as it comes, and tables that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from cw_pipeline import composition
from cw_pipeline.dagster import asset_specs
from cw_pipeline.dagster.checks import key_check_keys, report_again, report_check_results
from cw_pipeline.dagster.config import request_from_config
from cw_pipeline.dagster.failing import sync_ok_result
from cw_pipeline.dagster.internals import evaluation_of
from cw_pipeline.dagster.names import BACKFILL, TRIGGER
from cw_pipeline.dagster.partitions import report_covered_months, window_of_months, within
from cw_pipeline.dagster.reporting_assets import table_event, view_events
from cw_pipeline.errors import EntityBusy, PipelineError
from cw_pipeline.model import SyncMode, Window
from cw_pipeline.reporting import tables_reading
from cw_pipeline.sync.entity_sync import SyncRequest
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from cw_pipeline.dagster.config import SyncConfig
    from cw_pipeline.dagster.resource import PipelineRun
    from cw_pipeline.model import Entity, SyncResult
    from cw_pipeline.sync.context import SyncContext

Result: TypeAlias = dg.AssetCheckEvaluation


@dataclass(slots=True)
class SyncStep:
    """The sync of some entities, by asset key, as a step of a Dagster run."""

    context: dg.AssetExecutionContext
    run: PipelineRun
    months: dg.TimeWindowPartitionsDefinition
    entities: Mapping[dg.AssetKey, Entity]
    failures: dict[str, Exception] = field(default_factory=dict)
    reported: set[str] = field(default_factory=set)
    every_month: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    loaded: list[dg.AssetKey] = field(default_factory=list)
    whole: list[SyncResult] = field(default_factory=list)
    refreshed: bool = False

    def results(self, config: SyncConfig) -> Iterator[Result]:
        """The outcome of each selected entity as it finishes. Raises dg.Failure if some failed.

        What succeeded is kept and shown as such; a re-execution from failure runs the rest.
        """
        held: Result | None = None
        for result in self._sync_all(config):
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
            of = f"of {count(len(self._selected_entities()), 'entity', 'entities')}"
            raise self.run.failure(self.context, self.failures, of)

    def _sync_all(self, config: SyncConfig) -> Iterator[Result]:
        try:
            yield from self._sync(config)
        except PipelineError as error:
            # The keys were refused, the warehouse is away, the config makes no sense: nothing more
            # can come of this run.
            self.run.give_up(error)
            for key, entity in self._selected_entities().items():
                if entity.name not in self.reported:
                    yield from self._results_of_failure(key, error)

    def _log_full_sync(self) -> None:
        """Shows that every list there is was read whole, as in a first load, if it was."""
        tenant = self.run.tenant
        read = {report.entity for report in self.whole}
        wanted = {entity.name for entity in composition.entities(tenant.settings)}
        if self._is_full_sync() and (left := wanted - read - self.failures.keys()):
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
            asset_specs.full_sync_key(tenant), metadata={"lists": len(read), **sums}
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

    def _sync(self, config: SyncConfig) -> Iterator[Result]:
        plan = self._plan(config)
        engine = self.run.engine()
        before = self.run.before()
        keys = {entity.name: key for key, entity in self._selected_entities().items()}
        for report in self.run.pipeline().run([*self._selected_entities().values()], plan):
            self.run.report_result(report)
            key = keys[report.entity]
            entity = self.entities[key]
            if report.failure is not None:
                yield from self._results_of_failure(key, report.failure, report)
                continue
            self.reported.add(entity.name)
            has_changed = report.rows_inserted or report.rows_updated or report.rows_deleted
            if has_changed:
                self.changed.add(entity.name)
            since = before.get(entity.name)
            self._stamp(key, entity, _covered_window(plan, since))
            whole = plan.full or (plan.window is None and since is None)
            if whole:
                self.whole.append(report)
            # A command's materializations of what did not change wait for the schedule `promises`.
            self.loaded += [key] if self.run.caller is None or has_changed else []
            yield from self._results_of_success(key, report, engine, whole=whole)

    def _plan(self, config: SyncConfig) -> SyncRequest:
        if self._is_full_sync():
            return SyncRequest(full=True)
        months = self._months()
        plan = request_from_config(
            config, window_of_months(months[0], months[-1]) if months else None, datetime.now(UTC)
        )
        if plan.window is None and BACKFILL in self.context.run.tags and months:
            raise dg.Failure(
                f"mode {config.mode} does not read the months that were selected. Leave it at auto"
                f" in a backfill; to read lists whole, materialize `{asset_specs.FULL_SYNC}`",
                allow_retries=False,
            )
        return plan

    def _months(self) -> list[str]:
        """The months that this run was launched for."""
        context = self.context
        if context.has_partition_key:
            return [context.partition_key]
        if not context.has_partition_key_range:
            return []
        asked = context.partition_key_range
        return list(self.months.get_partition_keys_in_range(asked))

    def _selected_entities(self) -> dict[dg.AssetKey, Entity]:
        """What is to be synced. A check that is run alone means its asset's sync, too."""
        checked = {check.asset_key for check in self.context.selected_asset_check_keys}
        wanted = {*self._materialized_keys(), *checked}
        return {key: entity for key, entity in self.entities.items() if key in wanted}

    def _materialized_keys(self) -> Collection[dg.AssetKey]:
        """The lists whose materializations are logged: all of them in a full sync."""
        if self._is_full_sync():
            return self.entities.keys()
        return set(self.context.selected_asset_keys)

    def _is_full_sync(self) -> bool:
        return asset_specs.full_sync_key(self.run.tenant) in self.context.selected_asset_keys

    def _results_of_success(
        self, key: dg.AssetKey, report: SyncResult, engine: SyncContext, *, whole: bool
    ) -> Iterator[Result]:
        """The check `sync_ok`. The materialization is logged, not yielded.

        Of an output Dagster would keep the metadata once more, and three rows.
        """
        for warning in report.warnings:
            self.context.log.warning("%s: %s", report.entity, warning)
        if key in self._materialized_keys():
            metadata = asset_specs.sync_metadata(report, self.entities[key], engine, whole=whole)
            dated = self.entities[key].mode is SyncMode.INCREMENTAL
            months: list[str | None] = [*self._months()] if dated else []
            for month in months or [None]:
                self.context.log_event(
                    dg.AssetMaterialization(key, metadata=metadata, partition=month)
                )
        yield self._check(key, report)

    def _results_of_failure(
        self, key: dg.AssetKey, error: Exception, report: SyncResult | None = None
    ) -> Iterator[Result]:
        entity = self.entities[key]
        self.reported.add(entity.name)
        if not isinstance(error, EntityBusy):  # whoever holds the entity brings it up to date
            self.failures[entity.name] = error
        yield self._check(key, report or error)

    def _check(self, key: dg.AssetKey, outcome: SyncResult | Exception) -> Result:
        """The check `sync_ok` of an entity.

        Also where it was not selected: an execution of what failed leaves out the checks that were
        evaluated, and the entity would stay red for ever.
        """
        name = self.entities[key].name
        through = self.run.known_watermark(name)
        result = sync_ok_result(self.context.instance, key, name, outcome, through)
        return evaluation_of(self.context, result)

    def _stamp(self, key: dg.AssetKey, entity: Entity, covered: Window) -> None:
        """Shows the months that this pass covered, beside those it was launched for, as loaded."""
        if entity.mode is not SyncMode.INCREMENTAL or key not in self._materialized_keys():
            return
        now = datetime.now(UTC)
        if not self.every_month:  # costs as much as a request, so once for all entities
            self.every_month += self.months.get_partition_keys(current_time=now)
        mine = set(self._months())
        months = [each for each in within(self.every_month, covered, now) if each not in mine]
        report_covered_months(self.context.instance, key, months, self.context.run.run_id)


def _covered_window(plan: SyncRequest, watermark: datetime | None) -> Window:
    """The span of source time that the pass read."""
    now = datetime.now(UTC)
    if plan.window is not None:
        return plan.window if plan.closed else Window(plan.window.since, now)
    return Window(None if plan.full else watermark, now)
