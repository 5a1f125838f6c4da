"""The front door: from settings to a warehouse that is in step with its tenant.

    with Pipeline() as pipeline:
        for result in pipeline.sync("service/tickets"):
            print(result.entity, result.rows_read, result.failure)
        tickets = pipeline.frame("service_tickets")

Commands, Dagster and notebooks all come in here. A `Pipeline` takes settings, and opens what a
method needs when it is first called: the warehouse for `status` and `frame`, the API too for
`sync` and its like. `connect` is that opening in full; `composition.py` says what the settings mean
for each part. Nothing here changes the process that it is used in: `process.py` is for our own.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from cw_pipeline import composition, reporting
from cw_pipeline.catalog import select
from cw_pipeline.connectwise import BACKGROUND, Policy, trust
from cw_pipeline.dev import services
from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.model import ReplayResult, Window, utc_datetime
from cw_pipeline.paths import cli_command
from cw_pipeline.reporting.custom_fields import follow_custom_fields, refresh_custom_views
from cw_pipeline.reporting.selection import Selection
from cw_pipeline.reports_api.columns import snapshot_reports
from cw_pipeline.reports_api.sync import sync_report
from cw_pipeline.results import Results, first_names
from cw_pipeline.settings import Settings
from cw_pipeline.sync.capabilities import probe_all
from cw_pipeline.sync.changes import find_changes
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.sync.reconcile import reconcile_all, reread_all
from cw_pipeline.sync.replay import replay
from cw_pipeline.warehouse import migrate, status, up_to_date_schema, version_fault
from cw_pipeline.warehouse.connections import transaction
from cw_pipeline.warehouse.private_columns import mask_stored_rows
from cw_pipeline.warehouse.schema import mark_tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    import pandas as pd
    import pyarrow as pa

    from cw_pipeline.model import Audit, Entity, SyncResult
    from cw_pipeline.reporting import Refreshed
    from cw_pipeline.reports_api.columns import ReportSnapshot
    from cw_pipeline.sync.capabilities import ListCapabilities
    from cw_pipeline.sync.changes import Changes
    from cw_pipeline.sync.context import SyncContext
    from cw_pipeline.warehouse import Database
    from cw_pipeline.warehouse.ddl import Patience
    from cw_pipeline.warehouse.status import ClockDisorder, EntityStatus

T = TypeVar("T")

log = logging.getLogger(__name__)

REPORT = "system/reports/"  # what the name of a report's entity begins with


class Pipeline:
    """One tenant and its warehouse. A context manager; without `with`, `close` ends it.

    Settings are those of the environment and the settings file unless they are given, as
    `Settings.of({"CW_SITE": ...})` makes them. Where none name a tenant, the demo's is used, and a
    log line says so. Errors are of `cw_pipeline.errors` and say what to do.

    `yields_to_refresh`: requests of the live refresh, in another process, go first. `policy` is how
    patiently ConnectWise is asked again, `patience` for how long locks of others are waited for.
    `dagster_run_id` is noted with each run; with one, `sync` leaves it to Dagster to bring the
    reporting tables up to date. `shared`: connections, and turns to load pages, that this tenant
    has in common with others of this process.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        yields_to_refresh: bool = False,
        dagster_run_id: str | None = None,
        policy: Policy = BACKGROUND,
        patience: Patience | None = None,
        shared: composition.Shared | None = None,
    ) -> None:
        self._given = settings or Settings.read()
        self.settings = self._given
        self._dagster_run_id = dagster_run_id
        self._patience = patience
        self._open = partial(
            composition.sync_context,
            yields_to_refresh=yields_to_refresh,
            dagster_run_id=dagster_run_id,
            policy=policy,
            patience=patience,
            shared=shared,
        )
        self._stack = ExitStack()
        self._context: SyncContext | None = None
        self._prepared: set[str] | None = None  # entities whose tables are as they should be
        self._views_behind = False  # the views of custom fields may lack what was read
        self._results: WeakSet[Results[Any]] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(failed=error is not None)

    def close(self, *, failed: bool = False) -> None:
        """Ends what is being read, and lets go of tenant and warehouse; may connect anew later.

        The views of custom fields follow what was read, unless an error `failed` it.
        """
        self.stop()  # all, before any is waited for: also one that another thread is just beginning
        for each in list(self._results):
            each.close()
        try:
            if self._views_behind and not failed:
                self._follow_custom_fields()
        finally:
            self._context = None
            self._views_behind = False
            self._prepared = None
            self._stack.close()
            self.settings = self._given

    def sync(self, *entities: str, full: bool = False) -> Results[SyncResult]:
        """Brings tables up to date: the result of each entity as it finishes.

        Entities are named as for `select`. The first sync of an entity reads all of it, later ones
        what changed since, or all of it again with `full`. An entity that failed has its `failure`
        set, and the others go on. At the end the reporting tables follow, if there are any. Raises
        SourceDenied when the keys are refused.
        """
        return self.run(self.select(*entities), SyncRequest(full))

    def backfill(
        self, *entities: str, since: date, until: date | None = None
    ) -> Results[SyncResult]:
        """Reads again what changed from `since` on and before `until`, as `sync` does.

        Times without a zone are in UTC, days begin at midnight. Without `until` the span ends now,
        and what changes meanwhile is read too. Watermarks stay where they are, so this may run at
        any time, beside a sync too. Raises ConfigError if the span is empty.
        """
        begin, end = utc_datetime(since), utc_datetime(until) if until else datetime.now(UTC)
        if begin >= end:
            raise ConfigError(f"since {begin} must lie before until {end}, and before now")
        request = SyncRequest(window=Window(begin, end), closed=until is not None)
        return self.run(self.select(*entities), request)

    def run(self, entities: Sequence[Entity], request: SyncRequest) -> Results[SyncResult]:
        """The same for a request that was made already: `sync` and `backfill` are made of it."""
        names = [entity.name for entity in entities]

        def begin(context: SyncContext) -> Iterator[SyncResult]:
            yield from sync_entities(entities, context, request)
            if self._dagster_run_id is None:  # else Dagster does it
                self._finish_sync(names)

        return self._call("backfill" if request.window else "sync", entities, begin)

    def sync_reports(self, *names: str, full: bool = False) -> Results[SyncResult]:
        """Brings the tables of reports up to date, one after the other; without names CW_REPORTS'.

        A name is that of the reporting API: "Service". Raises SourceDenied if keys are refused.
        """
        chosen = [name.removeprefix(REPORT) for name in names]
        chosen = chosen or composition.report_names(self.settings)

        def begin(context: SyncContext) -> Iterator[SyncResult]:
            for name in chosen:
                context.check()
                yield sync_report(context, name, full=full)
            if self._dagster_run_id is None:  # else Dagster does it
                self._finish_sync([f"{REPORT}{name}" for name in chosen])

        return self._call("sync_reports", [], begin, ", ".join(chosen))

    def snapshot_reports(self) -> ReportSnapshot:
        """Stores which columns each report of the reporting API has now: what that found.

        Its `drift` is what changed since the snapshot before; `cw_sync.report_drift` keeps it.
        """
        return snapshot_reports(self._fit_for_another_call(self.connect([])))

    def reconcile(self, *entities: str, apply_deletes: bool = False) -> Results[Audit]:
        """Compares every id of a list with its table, and repairs what differs.

        What is gone at the source is marked deleted, unless the delete guard keeps it;
        `apply_deletes` lifts the guard for this once. `proven` of an audit: both held the same.
        """
        chosen = self.select(*entities)
        return self._call(
            "reconcile",
            chosen,
            lambda context: reconcile_all(chosen, context, apply_deletes=apply_deletes),
        )

    def reread(self, *entities: str, nights: int | None = None) -> Results[Audit]:
        """Reads the next slice of each list again, a `nights`-th of it, to find silent changes.

        Without `nights` it is what CW_REREAD_NIGHTS says. `drift` of an audit counts the rows that
        differed although their `lastUpdated` had not moved.
        """
        chosen = self.select(*entities)
        return self._call(
            "reread", chosen, lambda context: reread_all(chosen, context, nights=nights)
        )

    def probe(self, *entities: str, deep: bool = False) -> Results[ListCapabilities]:
        """What each list allows, as it is found out: whether it can be read, and changes alone.

        Costs one or two requests a list, `deep` up to three more: counts, forward-only paging,
        single records. Later syncs go by it. Records are neither stored nor masked.
        """
        chosen = self.select(*entities)
        context, settings = self._open_context(), self.settings
        family, history = composition.with_parents(chosen), settings.history_columns or ""
        up_to_date_schema(context.database, composition.dsn(settings), family, history)
        return self._call(
            "probe",
            chosen,
            lambda context: probe_all(chosen, context.source, context.database, deep=deep),
            context=context,
        )

    def replay(self, *dead_letter_ids: int) -> Results[ReplayResult]:
        """Reads the records of open dead letters again, of all without ids: what came of each."""

        def begin(context: SyncContext) -> Iterator[ReplayResult]:
            for letter_id, outcome in replay(context, dead_letter_ids or None):
                yield ReplayResult(letter_id, outcome)

        return self._call("replay", [], begin, "dead letters")

    def find_changes(
        self, *entities: str, seconds: float = 25, beside_live: bool = False
    ) -> Changes:
        """Asks each list what is new, for so many seconds: which ones a sync has to read.

        Watermarks of the others move on. `beside_live`: what `live` has just asked is left to it.
        Raises SourceDenied, SourceUnreachable, WarehouseError.
        """
        context = self._fit_for_another_call(self.connect(chosen := self.select(*entities)))
        return find_changes(context, chosen, seconds, beside_live=beside_live)

    def tables_behind(self, *, beside_live: bool = False) -> set[str]:
        """Tables of the reporting schema that a refresh would change.

        The `complete_through` of the others moves on to that of what they read.
        """
        with self._warehouse() as store:
            return reporting.tables_behind(store.transaction, store.schema, beside_live=beside_live)

    def refresh_tables(self, names: Iterable[str], *, publish: bool = False) -> list[Refreshed]:
        """Refreshes tables of the reporting schema, and those they stand on.

        `publish`: the schema is made, or brought up to this version, first. Without it nothing is
        done where nothing was published yet.
        """
        made = set(self.publish()) if publish else set()
        with self._warehouse() as store:
            tables = reporting.refresh_published(store.transaction, store.schema, names) or []
        return [replace(each, whole=True) if each.name in made else each for each in tables]

    def migrate(self, *entities: str) -> None:
        """Brings the warehouse up to this version: its state, and the tables of the entities.

        Every sync does so for what it reads. Nothing is dropped.
        """
        address, settings = self.warehouse_dsn(), self.settings
        family = composition.with_parents(self.select(*entities))
        migrate(address, settings.schema_, family, settings.history_columns or "")
        configured = composition.configured_names(settings)
        with transaction(address) as connection:
            status.remember_wanted(connection, settings.schema_, configured)

    def publish(self) -> list[str]:
        """Brings the reporting schema up to this version: the views and tables that were made anew.

        The tables that it reads are made too, synced or not.
        """
        address, schema = self.warehouse_dsn(), self.settings.schema_
        migrate(address, schema, reporting.entities())
        refresh_custom_views(address, schema)
        return reporting.publish(
            address,
            schema,
            self.settings.time_zone,
            month_closes_on=self.settings.month_closes_on,
            fiscal_year_start=self.settings.fiscal_year_start,
        )

    def status(self) -> list[EntityStatus]:
        """How complete each table is, by entity; those that were never touched are not there.

        Asks only the warehouse. `pandas.DataFrame(pipeline.status())` shows it as a table.
        """
        return self.ask_warehouse(status.entity_statuses)

    def clock_disorder(self) -> ClockDisorder | None:
        """How the clocks of ConnectWise, this machine and the warehouse differed in the last day.

        None if they agreed. Asks only the warehouse.
        """
        return self.ask_warehouse(status.clock_disorder)

    def ask_warehouse(self, question: Callable[[Any, str], T]) -> T:
        """What a question of `warehouse` finds, given a connection and the tenant's schema."""
        if self._context is not None:
            with self._context.database.connection() as connection:
                return question(connection, self.settings.schema_)
        address = self.warehouse_dsn()
        if fault := version_fault(address):
            raise WarehouseError(fault)
        with transaction(address) as connection:
            return question(connection, self.settings.schema_)

    def frame(
        self, name: str, where: str = "", values: Sequence[Any] = (), *, columns: Sequence[str] = ()
    ) -> pd.DataFrame:
        """The rows of a table or view, with the types that they have in Postgres.

        `name` is a view or table of the reporting schema ("kpi_service_daily"), an entity or its
        table ("service/tickets", "service_tickets"), or anything with its schema ("cw_sync.run").
        `where` is SQL with `%s` for `values`; `columns` are read, else all. Raises WarehouseError
        if there is no such table or column, with the name that may be meant.
        """
        from cw_pipeline.reporting.frames import frame  # noqa: PLC0415 - pandas takes half a second

        chosen = Selection(self._table(name), where, values, columns, self.settings.schema_)
        return frame(self.warehouse_dsn(), chosen)

    def arrow(
        self, name: str, where: str = "", values: Sequence[Any] = (), *, columns: Sequence[str] = ()
    ) -> pa.Table:
        """The same as an Arrow table, without pandas. Raises ConfigError without pyarrow."""
        from cw_pipeline.reporting.arrow import arrow  # noqa: PLC0415 - an extra

        chosen = Selection(self._table(name), where, values, columns, self.settings.schema_)
        return arrow(self.warehouse_dsn(), chosen)

    def _table(self, name: str) -> str:
        named = self.select(name) if "/" in name else []
        return f"{self.settings.schema_}.{named[0].table}" if len(named) == 1 else name

    def select(self, *names: str) -> list[Entity]:
        """The entities that names, tables or globs mean, parents before children.

        Without any, those that CW_ENTITIES, CW_AUDIT_TRAIL and CW_DOCUMENTS choose. Raises
        ConfigError for what means nothing, with the name that may be meant.
        """
        if not names:
            return composition.entities(self.settings)
        if report := next((name for name in names if name.startswith(REPORT)), None):
            name = report.removeprefix(REPORT)
            raise ConfigError(f'{report} is a report: pipeline.sync_reports("{name}") reads it')
        try:
            return select(",".join(names))
        except ConfigError as error:
            raise ConfigError(str(error).removeprefix("CW_ENTITIES: ")) from None

    def connect(self, chosen: Iterable[Entity] | None = None) -> SyncContext:
        """The tenant and its warehouse, both open, with tables for these entities.

        Methods call it themselves. `chosen`: None means all that the settings name. What is there
        already is not made again. Raises ConfigError, WarehouseError.
        """
        family = composition.with_parents(self.select() if chosen is None else chosen)
        context = self._open_context()
        names = {entity.name for entity in family}
        if self._prepared is None or not names <= self._prepared:  # also once for no entity
            address, history = composition.dsn(self.settings), self.settings.history_columns or ""
            stored = up_to_date_schema(context.database, address, family, history)
            owner = composition.tenant(self.settings)
            if stored.owner != owner:
                with context.database.transaction() as connection:
                    mark_tenant(connection, context.database.schema, owner)
            if stored.private or context.privacy:
                mask_stored_rows(context.database, family, context.privacy, stored.private)
                reporting.hide_in_as_of(context.database.transaction, context.database.schema)
            self._prepared = names | (self._prepared or set())
        self._views_behind = True
        return context

    def warehouse_dsn(self) -> str:
        """The warehouse's address. Where none is set, the embedded server is started first."""
        if self.settings.warehouse_dsn is None:
            self.settings = self._stack.enter_context(services.dev_warehouse(self.settings))
        return composition.dsn(self.settings)

    def stop(self) -> None:
        """Has everything that is being read end after its present pages. For other threads."""
        for each in list(self._results):
            each.stop()

    def _open_context(self) -> SyncContext:
        """The warehouse and the API, open until `close`; where none are set, what stands in."""
        if self._context is None:
            # These raise for what is set wrong, before anything is opened.
            if self.settings.ca_file is not None:
                trust(self.settings.ca_file)
            composition.masking_rules(self.settings)
            self._given.refuse_half_a_tenant()  # made-up data must not get into a real warehouse
            self.warehouse_dsn()
            if self.settings.is_simulated:
                log.warning(
                    "MADE-UP DATA: no tenant is configured; `%s` asks for one", cli_command("init")
                )
                self.settings = self._stack.enter_context(services.dev_services(self.settings))
            self._context = self._stack.enter_context(self._open(self.settings))
        return self._context

    def _call(
        self,
        what: str,
        chosen: Sequence[Entity],
        work: Callable[[SyncContext], Iterator[T]],
        of: str = "",
        context: SyncContext | None = None,
    ) -> Results[T]:
        """The results of work on these entities, prepared for unless a context is given."""
        sync_context = context or self.connect(chosen)
        results = Results(
            f"{what} of {of or first_names(chosen)}",
            lambda: work(self._fit_for_another_call(sync_context)),
            sync_context.stopping,
        )
        self._results.add(results)
        return results

    def _fit_for_another_call(self, context: SyncContext) -> SyncContext:
        """The context, with what is left of calls that were stopped, or met an outage, forgotten.

        A call that was stopped and has not ended yet is waited for: all calls share one `stopping`.
        """
        if context.stopping.is_set():
            for each in list(self._results):
                if each.is_under_way:
                    each.close()
            context.stopping.clear()
        if not any(each.is_under_way for each in list(self._results)):
            context.source.forget_failures()
        return context

    def _finish_sync(self, names: Sequence[str]) -> None:
        """Has what stands on tables follow them."""
        self._follow_custom_fields()
        self.follow_sync(names)

    def follow_sync(self, names: Sequence[str]) -> list[Refreshed]:
        """Brings the reporting tables that read these entities up to date: what that did.

        Nothing where nothing was published. Also notes which entities the settings keep up to date.
        """
        configured = composition.configured_names(self.settings)
        tables = reporting.tables_reading(names)
        with self._warehouse() as store:
            with store.connection() as connection:
                status.remember_wanted(connection, store.schema, configured)
            return reporting.refresh_published(store.transaction, store.schema, tables) or []

    def remember_wanted(self) -> None:
        """Notes which entities the settings keep up to date: no other makes its table look old."""
        names = composition.configured_names(self.settings)
        with self._warehouse() as store, store.connection() as connection:
            status.remember_wanted(connection, store.schema, names)

    @contextmanager
    def _warehouse(self) -> Iterator[Database]:
        """The warehouse's connections: those that are open, or for this block."""
        if self._context is not None:
            yield self._context.database
            return
        self.warehouse_dsn()
        with composition.warehouse(self.settings, self._patience, connections=1) as store:
            yield store

    def _follow_custom_fields(self) -> None:
        self._views_behind = False
        with self._warehouse() as store:
            follow_custom_fields(store.connection, composition.dsn(self.settings), store.schema)
