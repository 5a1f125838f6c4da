"""One step of a run: the entities of a module, synced, and each one's outcome told as it comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from cw_pipeline.dagster import asset_specs
from cw_pipeline.dagster.asset_specs import SYNC_OK
from cw_pipeline.dagster.checks import report_check_results
from cw_pipeline.dagster.config import request_from_config
from cw_pipeline.dagster.names import BACKFILL
from cw_pipeline.dagster.partitions import report_covered_months, window_of_months, within
from cw_pipeline.errors import EntityBusy, PipelineError
from cw_pipeline.model import SyncMode, Window
from cw_pipeline.plural import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cw_pipeline.dagster.config import SyncConfig
    from cw_pipeline.dagster.resource import PipelineRun
    from cw_pipeline.model import Entity, SyncResult
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.sync.entity_sync import SyncRequest

Result: TypeAlias = dg.MaterializeResult[Any] | dg.AssetCheckResult


@dataclass(slots=True)
class ModuleSync:
    """The sync of some entities, by asset key, as a step of a Dagster run."""

    context: dg.AssetExecutionContext
    run: PipelineRun
    months: dg.TimeWindowPartitionsDefinition
    entities: Mapping[dg.AssetKey, Entity]
    failures: dict[str, Exception] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    every_month: list[str] = field(default_factory=list)

    def results(self, config: SyncConfig) -> Iterator[Result]:
        """The outcome of each selected entity as it finishes. Raises dg.Failure if some failed.

        What succeeded is kept and shown as such; a re-execution from failure runs the rest.
        """
        try:
            yield from self._sync(config)
        except PipelineError as error:
            # The keys were refused, the warehouse is away, the config makes no sense: nothing more
            # can come of this run.
            self.run.give_up(error)
            for key, entity in self._selected_entities().items():
                if entity.name not in self.told:
                    yield from self._results_of_failure(key, error)
        except Exception as error:
            self.run.give_up(error)  # a fault of ours: Dagster shows where
            raise
        if self.failures:
            of = f"of {count(len(self._selected_entities()), 'entity', 'entities')}"
            raise self.run.failed(self.context, self.failures, of)

    def _sync(self, config: SyncConfig) -> Iterator[Result]:
        plan = self._plan(config)
        engine = self.run.engine()
        before = self.run.before()
        keys = {entity.name: key for key, entity in self._selected_entities().items()}
        loaded: list[dg.AssetKey] = []
        for report in self.run.reports([*self._selected_entities().values()], plan):
            key = keys[report.entity]
            entity = self.entities[key]
            if report.failure is not None:
                yield from self._results_of_failure(key, report.failure, report)
                continue
            self.told.add(entity.name)
            since = before.get(entity.name)
            self._stamp(key, entity, _covered_window(plan, since))
            whole = plan.full or (plan.window is None and since is None)
            # A command's materializations of what did not change wait for the schedule `promises`.
            loaded += [key] if self.run.caller is None or _has_changed(report) else []
            yield from self._results_of_success(key, report, engine, whole=whole)
        self._report_checks(loaded)

    def _plan(self, config: SyncConfig) -> SyncRequest:
        months = self._months()
        plan = request_from_config(
            config, window_of_months(months[0], months[-1]) if months else None, datetime.now(UTC)
        )
        if plan.window is None and BACKFILL in self.context.run.tags and months:
            raise dg.Failure(
                f"mode {config.mode} does not read the months that were selected. Leave it at auto"
                " in a backfill; to read everything, launch the job `refresh` once with mode full",
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
        wanted = self.context.selected_asset_keys | checked
        return {key: entity for key, entity in self.entities.items() if key in wanted}

    def _results_of_success(
        self, key: dg.AssetKey, report: SyncResult, engine: SyncContext, *, whole: bool
    ) -> Iterator[Result]:
        for warning in report.warnings:
            self.context.log.warning("%s: %s", report.entity, warning)
        passed = [self._check(key, report)]
        if key not in self.context.selected_asset_keys:
            yield from passed
            return
        told = asset_specs.sync_metadata(report, self.entities[key], engine, whole=whole)
        yield dg.MaterializeResult(asset_key=key, metadata=told, check_results=passed)

    def _results_of_failure(
        self, key: dg.AssetKey, error: Exception, report: SyncResult | None = None
    ) -> Iterator[Result]:
        entity = self.entities[key]
        self.told.add(entity.name)
        if not isinstance(error, EntityBusy):  # whoever holds the entity brings it up to date
            self.failures[entity.name] = error
        yield self._check(key, report, error)

    def _check(
        self, key: dg.AssetKey, report: SyncResult | None, error: Exception | None = None
    ) -> dg.AssetCheckResult:
        """The check `sync_ok` of an entity.

        Also where it was not selected: an execution of what failed leaves out the checks that were
        evaluated, and the entity would stay red for ever.
        """
        busy = isinstance(error, EntityBusy)
        told: dict[str, Any] = asset_specs.sync_figures(report) if report else {}
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=SYNC_OK,
            passed=error is None,
            severity=dg.AssetCheckSeverity.WARN if busy else dg.AssetCheckSeverity.ERROR,
            description=str(error) if error else None,
            metadata=told | ({"error": type(error).__name__} if error else {}),
        )

    def _report_checks(self, keys: list[dg.AssetKey]) -> None:
        """Shows what is promised of the lists that were materialized, and whether it holds.

        A materialization hides the results of before.
        """
        if keys:
            entities = [self.entities[key] for key in keys]
            report_check_results(
                self.context.instance, self.run.tenant, entities, self.run.standings()
            )

    def _stamp(self, key: dg.AssetKey, entity: Entity, covered: Window) -> None:
        """Shows the months that this pass covered, beside those it was launched for, as loaded."""
        if entity.mode is not SyncMode.INCREMENTAL or key not in self.context.selected_asset_keys:
            return
        now = datetime.now(UTC)
        if not self.every_month:  # costs as much as a request, so once for all entities
            self.every_month += self.months.get_partition_keys(current_time=now)
        mine = set(self._months())
        months = [each for each in within(self.every_month, covered, now) if each not in mine]
        report_covered_months(self.context.instance, key, months, self.context.run.run_id)


def _has_changed(report: SyncResult) -> bool:
    return bool(report.rows_inserted or report.rows_updated or report.rows_deleted)


def _covered_window(plan: SyncRequest, watermark: datetime | None) -> Window:
    """The span of source time that the pass read."""
    now = datetime.now(UTC)
    if plan.window is not None:
        return plan.window if plan.closed else Window(plan.window.since, now)
    return Window(None if plan.full else watermark, now)
