"""What the steps of one Dagster run share: the tenant, connected once, and what failed so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from cw_pipeline.dagster.internals import keep_connections
from cw_pipeline.dagster.names import BACKFILL, RETRY
from cw_pipeline.errors import (
    ConfigError,
    PipelineError,
    SourceDenied,
    SourceForbidden,
    SourceMissing,
    SourceRefused,
)
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.results import explain_failure
from cw_pipeline.warehouse.callbacks import callback_standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cw_pipeline.dagster.tenant import TenantSetup
    from cw_pipeline.model import Audit, Entity, SyncResult
    from cw_pipeline.settings import Settings
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse.callbacks import CallbackStanding
    from cw_pipeline.warehouse.status import ClockDisorder, EntityStatus


YIELDING_TAG = "cw/yielding"  # a run that lets the live refresh go first

PERMANENT = (ConfigError, SourceDenied, SourceForbidden, SourceRefused, SourceMissing)
"""What fails again however often it is tried."""


@dataclass(slots=True)
class CommandRun:
    """A caller in this very process, and who hears of each report and audit.

    `entities` are those that it asks for, `results` the reports until now. `fatal` is what ended
    the run before its entities were read, if anything did.
    """

    on_report: Callable[[SyncResult], None]
    entities: Sequence[Entity] = ()
    on_audit: Callable[[Audit], None] = lambda _: None
    results: list[SyncResult] = field(default_factory=list)
    fatal: Exception | None = None


@dataclass(slots=True)
class PipelineRun:
    """The tenant for the length of a run: connected by the first step that needs it.

    `known_settings` are those that it goes by; None: the tenant's, once it is connected.
    """

    tenant: TenantSetup
    run_id: str
    yielding: bool
    caller: CommandRun | None = None
    known_settings: Settings | None = None
    failures: list[Exception] = field(default_factory=list)
    _pipeline: Pipeline | None = None
    _noted_wanted: bool = False
    _fatal: Exception | None = None

    def pipeline(self) -> Pipeline:
        """The tenant and its warehouse, opened by what needs them."""
        if self._pipeline is None:
            self._pipeline = Pipeline(
                self.settings(), yields_to_refresh=self.yielding, dagster_run_id=self.run_id
            )
        return self._pipeline

    def engine(self) -> SyncContext:
        """The connected tenant. Raises the error that made an earlier step give up."""
        if self._fatal is not None:
            raise self._fatal
        try:
            # A command names what it syncs; all else needs the tables of all that is set.
            context = self.pipeline().connect(self.caller.entities if self.caller else None)
            if self.caller is None and not self._noted_wanted:
                self.pipeline().remember_wanted()
                self._noted_wanted = True
        except PipelineError as error:
            self.give_up(error)
            raise
        return context

    def connected_pipeline(self) -> Pipeline:
        """The pipeline, once `engine` has connected it. Raises as that does."""
        self.engine()
        return self.pipeline()

    def settings(self) -> Settings:
        """The settings that this run goes by, with the embedded parts put in."""
        if self.known_settings is None:
            self.known_settings = self.tenant.connect()
        return self.known_settings

    def standings(self) -> dict[str, EntityStatus]:
        """How every entity stands in the warehouse now; needs no tenant."""
        return {each.entity: each for each in self.pipeline().status()}

    def clock_disorder(self) -> ClockDisorder | None:
        """How the clocks differed in the last day, if they did; needs no tenant."""
        return self.pipeline().clock_disorder()

    def callbacks(self) -> CallbackStanding:
        """How the tenant's callbacks stand; needs no tenant."""
        return self.pipeline().ask_warehouse(callback_standing)

    def give_up(self, error: Exception) -> None:
        """Spares the steps to come what cannot succeed: the keys were refused, say."""
        self._fatal = error
        if self.caller is not None:
            self.caller.fatal = error

    def report_result(self, report: SyncResult) -> None:
        """Tells the caller, if there is one."""
        if self.caller is not None:
            self.caller.results.append(report)
            self.caller.on_report(report)

    def failure(
        self,
        context: dg.AssetExecutionContext,
        failures: Mapping[str, Exception],
        of: str,
        *,
        checked: bool = True,
    ) -> dg.Failure:
        """What a step raises at its end when some failed, `of` as in "2 of 7 entities".

        `checked`: each has a check that tells its trouble, so the step needs not be one too.
        """
        self.failures.extend(failures.values())
        # A run is one, its steps are many: what one step may retry, another must not forbid.
        context.instance.add_run_tags(self.run_id, {RETRY: str(self.retryable).lower()})
        by_entity = {name: str(error) for name, error in failures.items()}
        names: dict[str, list[str]] = {}
        for name, error in failures.items():  # an outage is one reason, not a hundred
            names.setdefault("; ".join(filter(None, explain_failure(name, error))), []).append(name)
        reasons = ". ".join(f"{', '.join(those)}: {why}" for why, those in names.items())
        return dg.Failure(
            f"{len(by_entity)} {of} failed. {reasons}",
            metadata=by_entity if checked else None,
            allow_retries=False,  # by the step; the run's retry takes only what failed
        )

    def failed_alone(self, context: dg.AssetExecutionContext, error: Exception) -> dg.Failure:
        """What a step raises that does one thing, which failed."""
        self.failures.append(error)
        context.instance.add_run_tags(self.run_id, {RETRY: str(self.retryable).lower()})
        reason = "; ".join(filter(None, explain_failure("", error)))
        return dg.Failure(reason, allow_retries=False)

    @property
    def retryable(self) -> bool:
        """Whether trying the failed ones again could help any of them."""
        return not all(isinstance(error, PERMANENT) for error in self.failures)

    def close(self) -> None:
        """Lets the tenant go."""
        if self._pipeline is not None:
            self._pipeline.close()


def tenant_run(tenant: TenantSetup, caller: CommandRun | None = None) -> dg.ResourceDefinition:
    """One for each run. Connects nothing before a step asks."""

    @dg.resource(description=f"The ConnectWise tenant of the schema {tenant.schema}")
    def make(context: dg.InitResourceContext) -> Iterator[PipelineRun]:
        run = context.run
        assert run is not None
        if context.instance is not None and caller is None:  # a command keeps them already
            keep_connections(context.instance)
        yielding = not {BACKFILL, YIELDING_TAG}.isdisjoint(run.tags)
        made = PipelineRun(tenant, run.run_id, yielding, caller)
        try:
            yield made
        finally:
            made.close()

    return make


def run_of(
    tenant: TenantSetup, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext
) -> PipelineRun:
    """The tenant's resource, in one of its ops."""
    found: PipelineRun = getattr(context.resources, tenant.resource)
    return found
