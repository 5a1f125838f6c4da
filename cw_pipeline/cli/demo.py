"""`demo`: the whole of it, on made-up data, on this machine."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from cw_pipeline.cli import output
from cw_pipeline.cli.configuration import demo_settings
from cw_pipeline.paths import cli_command
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.dev.simulator import EmbeddedSimulator
    from cw_pipeline.model import Audit, Entity, SyncResult
    from cw_pipeline.settings import Settings


@click.command()
@click.option("--tickets", default=20_000, show_default=True, help="How large a tenant to make.")
@click.option("--seed", default=7, show_default=True, help="The same seed makes the same tenant.")
def demo(*, tickets: int, seed: int) -> int:
    """See it work: a warehouse and a made-up tenant, in under a minute.

    Starts a PostgreSQL server of its own and a simulated ConnectWise, loads all of it, lives a
    working day, and shows what the next sync and the proof cost. Nothing leaves this machine, and
    whatever CW_SITE and CW_WAREHOUSE_DSN name is left alone. Run it again: it goes on from there.
    """
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev.simulator import EmbeddedSimulator  # noqa: PLC0415
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    started = time.monotonic()
    with demo_settings() as elsewhere:
        tenant = EmbeddedSimulator(services.simulator().home, tickets=tickets, seed=seed)
        click.echo("A made-up ConnectWise tenant and a warehouse, both on this machine.\n")
        tenant.begin()
        import_module("cw_pipeline.dagster.in_process")  # Dagster, while the tenant is made up
        with services.dev_services(Settings.read(), tenant) as settings:
            is_fine = _Tour(settings, tenant).walk()
        _farewell(time.monotonic() - started, elsewhere=elsewhere)
    return 0 if is_fine else 1


class _Tour:
    """The stations of the demo, each with a line of what it came to."""

    def __init__(self, settings: Settings, tenant: EmbeddedSimulator) -> None:
        from cw_pipeline.catalog import select  # noqa: PLC0415

        self._settings = settings
        self._tenant = tenant
        self._entities: list[Entity] = select(None)
        self._is_fine = True
        self._since = time.monotonic()

    def walk(self) -> bool:
        """Whether everything went well."""
        is_loaded = bool(self._status())
        self._say("Tenant", _describe_tenant(self._tenant.about()))
        if is_loaded:
            self._say("Warehouse", "already loaded: nothing to load but what changed")
        first = self._sync("Sync" if is_loaded else "First load", first=not is_loaded)
        self._say("Working day", _describe_day(self._tenant.live_a_day()))
        second = self._sync("Sync again", first=False)
        if not is_loaded:
            self._compare(first, second)
        self._prove()
        self._read_again()
        self._publish()
        self._show()
        return self._is_fine

    def _sync(self, name: str, *, first: bool) -> list[SyncResult]:
        from cw_pipeline.cli.sync import (  # noqa: PLC0415
            failure_advice,
            sync_and_show,
        )
        from cw_pipeline.sync.entity_sync import SyncRequest  # noqa: PLC0415

        results = sync_and_show(self._settings, self._entities, SyncRequest(), quietly=True)
        self._say(name, _describe_load(results) if first else _describe_changes(results))
        for result in results:
            if result.failure is not None:
                self._is_fine = False
                click.echo(f"  ✗ {result.entity}: {failure_advice(result)}")
        return results

    def _compare(self, first: Sequence[SyncResult], second: Sequence[SyncResult]) -> None:
        top_level = {entity.name for entity in self._entities if entity.parent is None}
        requests = [
            sum(each.requests for each in run if each.entity in top_level)
            for run in (first, second)
        ]
        self._say(
            "", f"{requests[1]} requests for {len(top_level)} lists, {requests[0]} the first time"
        )

    def _prove(self) -> None:
        from cw_pipeline.cli import reconcile  # noqa: PLC0415

        audits = reconcile.run(self._settings, self._entities, quietly=True)
        self._say("Reconcile", _describe_proof(audits))
        for audit in audits:
            if not audit.proven:
                self._is_fine = False
                click.echo(f"  ✗ {audit.entity}: {audit.detail}")

    def _read_again(self) -> None:
        """What schedules do at night, so that Dagster's UI has a result of it from the start."""
        from cw_pipeline.cli import reconcile  # noqa: PLC0415
        from cw_pipeline.dagster.in_process import run_recorded_report_columns  # noqa: PLC0415

        run_recorded_report_columns(self._settings)
        audits = reconcile.read_again(self._settings, self._entities)
        rows = sum(audit.source_rows or 0 for audit in audits)
        drift = sum(audit.drift for audit in audits)
        text = f"{count(rows, 'record')}, {drift:,} changed although lastUpdated had not moved"
        self._say("Read again", text)

    def _publish(self) -> None:
        from cw_pipeline.dagster.in_process import record_reports  # noqa: PLC0415
        from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415
        from cw_pipeline.reporting import kept_tables  # noqa: PLC0415

        pipeline = Pipeline(self._settings)
        views = pipeline.publish()  # new tables are filled
        tables = pipeline.refresh_tables(kept_tables())
        lists = [entity.name for entity in self._entities]
        record_reports(self._settings, tables, lists, judge=True)
        rows = sum(table.rows for table in tables if table.name not in views)
        text = f"{count(len(views), 'view')} and tables made" if views else f"{rows:,} rows"
        self._say("Reporting", text)

    def _show(self) -> None:
        """The largest tables, as `status` shows them."""
        from cw_pipeline.cli.status import totals  # noqa: PLC0415

        entities = self._status()
        largest = sorted(entities, key=lambda entity: -(entity.rows or 0))[:6]
        rows = [(e.entity, f"{e.rows or 0:,}", moment(e.complete_through)) for e in largest]
        click.echo()
        output.table(("largest tables ", "rows", "complete through "), rows)
        click.echo(f"\n{totals(entities)}")

    def _status(self) -> list[Any]:
        from cw_pipeline.cli.status import read  # noqa: PLC0415

        return list(read(self._settings))

    def _say(self, station: str, text: str) -> None:
        """A line, with the seconds since the last one."""
        now = time.monotonic()
        click.echo(f"{station:<12} {text:<76} {now - self._since:>5.1f} s")
        self._since = now


def _describe_tenant(tenant: dict[str, Any]) -> str:
    return (
        f"{tenant['service_tickets']:,} tickets, {tenant['time_entries']:,} time entries,"
        f" {tenant['records']:,} records in all"
    )


def _describe_day(changed: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{sum(by_path.values()):,} {what}" for what, by_path in changed.items())


def _describe_load(results: Sequence[SyncResult]) -> str:
    rows, requests = (
        sum(getattr(result, name) for result in results) for name in ("rows_inserted", "requests")
    )
    entities = count(len(results), "entity", "entities")
    return f"{count(rows, 'row')} of {entities}, {count(requests, 'request')}"


def _describe_changes(results: Sequence[SyncResult]) -> str:
    new, changed, gone, requests = (
        sum(getattr(result, name) for result in results)
        for name in ("rows_inserted", "rows_updated", "rows_deleted", "requests")
    )
    deleted = f", {gone:,} deleted" if gone else ""
    return f"{new:,} new, {changed:,} changed{deleted}, {count(requests, 'request')}"


def _describe_proof(audits: Sequence[Audit]) -> str:
    proven = sum(audit.proven for audit in audits)
    rows = sum(audit.proven_rows for audit in audits)
    deleted = sum(audit.deleted for audit in audits)
    return (
        f"{count(deleted, 'deletion')} found; {proven} of {count(len(audits), 'list')} proven"
        f" equal, {count(rows, 'row')}"
    )


def _farewell(seconds: float, *, elsewhere: bool) -> None:
    click.echo(f"\nDone in {seconds:.0f} s. Next:")
    if elsewhere:
        click.echo("  Your own settings were left alone; the demo is in a folder of its own.")
        click.echo(f"  {cli_command('up', '--demo')}    Dagster's UI on the demo")
        click.echo(f"  {cli_command('check')}    whether your own settings are what they should be")
        return
    click.echo(f"  {cli_command('up')}        Dagster's UI: runs, schedules, backfills")
    click.echo(f"  {cli_command('status')}    how complete each table is")
    click.echo("  README.md    pointing it at a tenant")
