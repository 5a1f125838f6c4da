"""`sync` and `backfill`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import click
from typing_extensions import override

from cw_pipeline import composition
from cw_pipeline.cli import output
from cw_pipeline.cli.configuration import read_settings, warehouse_place
from cw_pipeline.cli.status import check_warehouse
from cw_pipeline.errors import PipelineError
from cw_pipeline.model import Window, utc_datetime
from cw_pipeline.warehouse.status import Progress, Reading, last_run, progress
from cw_pipeline.wording import age, count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from cw_pipeline.model import Entity, SyncResult
    from cw_pipeline.settings import Settings
    from cw_pipeline.sync.entity_sync import SyncRequest


GLANCE = 0.25  # seconds between looks when somebody watches
HEARTBEAT = 15.0  # seconds between lines when nobody does
_AT_MOST = 8  # bars at a time
_TOO_SHORT = 1.0  # seconds after which a pace is believed
_WIDE = 110  # columns of a terminal with room for more


class Watch:
    """Shows how many entities are done, and rows so far of those being read. A context manager."""

    def __init__(self, settings: Settings, entities: Sequence[Entity], *, silent: bool) -> None:
        self._settings = settings
        self._tables = {entity.name: entity.table for entity in entities}
        self._left = set(self._tables)
        self._silent = silent
        self._done = Event()
        self._thread = Thread(target=self._look, name="watch", daemon=True)
        self._stack = ExitStack()
        self._bars: Bars | None = None
        self._overall: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._before: Mapping[str, int] = {}
        self._paces: dict[str, Pace] = {}
        self._waits_for = ""

    def __enter__(self) -> Self:
        if self._silent:
            return self
        if output.lively():
            self._bars = self._stack.enter_context(_bars())
            self._overall = self._bars.add_task("entities", total=len(self._left), done="")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if not self._silent:
            self._thread.join(timeout=1)
        self._stack.close()

    def note_end(self, entity: str, line: str, *, failed: bool = False) -> None:
        """Notes that an entity is done, and says so in a line unless it is empty.

        Where no bars are shown, stderr gets only what failed: cron mails what is printed there.
        """
        self._left.discard(entity)
        if self._bars is not None:
            assert self._overall is not None
            done = len(self._tables) - len(self._left)
            self._bars.update(self._overall, completed=done, done=self._done_of_all("{} of {}"))
        if self._silent or not line:
            return
        if self._bars is not None:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            (output.stderr() if failed else output.stdout()).print(
                line, markup=False, soft_wrap=True
            )

    def _look(self) -> None:
        """Looks at the warehouse until all is done. What it cannot see is not worth a failure.

        Where nobody watches, most syncs are over before the first look.
        """
        spacing = GLANCE if self._bars is not None else HEARTBEAT
        begun = time.monotonic()
        if self._bars is None and self._done.wait(spacing):
            return
        try:
            with composition.warehouse(self._settings) as warehouse:
                with warehouse.connection() as connection:
                    after = last_run(connection, time.monotonic() - begun)
                    self._before = progress(connection, warehouse.schema, after).written
                while not self._done.is_set():
                    with warehouse.connection() as connection:
                        self._show(progress(connection, warehouse.schema, after))
                    self._done.wait(spacing)
        except PipelineError:
            return

    def _show(self, now: Progress) -> None:
        running = [each for each in now.running if each.entity in self._left]
        texts = {each.entity: self._progress_text(each, now) for each in running}
        self._waits_for = waiting_reason(now)
        if self._bars is not None:
            assert self._overall is not None
            self._bars.update(self._overall, done=self._done_of_all("{} of {}"))
            self._draw(self._bars, running, texts)
        elif running:
            parts = [" ".join(filter(None, pair)) for pair in texts.items()]
            at = time.strftime("%H:%M:%S")
            line = f"{at} {self._done_of_all('{}/{} done')}; now {', '.join(parts)}"
            output.stdout().print(line, markup=False, soft_wrap=True)

    def _done_of_all(self, words: str) -> str:
        """How many entities are done, and what the others wait for where that is known."""
        done = words.format(len(self._tables) - len(self._left), len(self._tables))
        return f"{done}, {self._waits_for}" if self._waits_for else done

    def _draw(self, bars: Bars, running: Sequence[Reading], texts: Mapping[str, str]) -> None:
        for name in self._tasks.keys() - texts.keys():
            bars.remove_task(self._tasks.pop(name))
        for each in running:
            name = each.entity
            if name not in self._tasks and len(self._tasks) < _AT_MOST:
                self._tasks[name] = bars.add_task(name, total=None, done="")
            if name in self._tasks:
                done, total, _ = each.share or (None, None, "")
                bars.update(self._tasks[name], total=total, completed=done, done=texts[name])

    def _progress_text(self, reading: Reading, now: Progress) -> str:
        """Rows so far; where it is known also how much is left, and how long it will take."""
        entity = reading.entity
        if reading.share is None:
            written = now.written.get(self._tables[entity], 0)
            changed = written - self._before.get(self._tables[entity], 0)
            return count(changed, "row") if changed else ""
        done, of, what = reading.share
        self._paces.setdefault(entity, Pace(done, time.monotonic()))
        left = self._paces[entity].left(done, of, time.monotonic())
        about = "" if left is None else f", about {age(left)} left"
        return f"{done:,} of {count(of, what)}{about}"


def waiting_reason(now: Progress) -> str:
    """What all that is read waits for, in few words; empty if for nothing but answers.

    Few, because a terminal has 80 columns and a bar before them.
    """
    if now.pause >= 1:
        return f"paused by ConnectWise, {age(timedelta(seconds=now.pause))}"
    return "at CW_REQUESTS_PER_MINUTE" if now.budget_is_spent else ""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it goes: so much was done at `since`, in seconds."""

    done: int
    since: float

    def left(self, done: int, of: int, now: float) -> timedelta | None:
        """How long it will take at the pace so far; None while that cannot be told."""
        more, took = done - self.done, now - self.since
        if more <= 0 or took < _TOO_SHORT:
            return None
        return timedelta(seconds=max(0, of - done) * took / more)


def _bars() -> Bars:
    from rich.progress import (  # noqa: PLC0415 - takes a tenth of a second
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    console = output.stderr()
    wide = console.width >= _WIDE
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30 if wide else 10),
        TextColumn("{task.fields[done]}"),
        *([TimeElapsedColumn()] if wide else []),
        console=console,
        transient=True,
    )


class Moment(click.ParamType[datetime]):
    """A date or a date-time in ISO form; UTC unless it says otherwise."""

    name = "time"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-11-01 or 2026-11-01T08:00:00Z", param, ctx)
        return utc_datetime(at)


MOMENT = Moment()
REPORTS = "system/reports/"


@click.command()
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@click.option("--full", is_flag=True, help="Read everything again, whatever is known already.")
@click.option("--since", type=MOMENT, help="Read what changed from then on again (a backfill).")
@click.option("--until", type=MOMENT, help="And only what changed before then.")
@output.as_json
def sync(
    entities: tuple[str, ...],
    *,
    full: bool,
    since: datetime | None,
    until: datetime | None,
    json_: bool,
) -> int:
    """Bring the warehouse up to date.

    ENTITY is a name (service/tickets), a glob ('service/*'), a table (service_tickets) or a report
    (system/reports/Service); without one, what CW_ENTITIES, CW_AUDIT_TRAIL, CW_DOCUMENTS and
    CW_REPORTS say. The first sync of an entity reads all of it, later ones only what changed since.
    Each run shows in Dagster's UI like a scheduled one. Once `migrate` has published the reporting
    schema, its tables follow.

    Exits 0 if all entities are up to date or another sync is reading them, 1 if one failed (the
    others are kept), 2 if settings or usage are wrong.
    """
    if until is not None and since is None:
        raise click.UsageError("--until needs --since")
    if full and since is not None:
        raise click.UsageError("--full reads everything; --since reads a span of time: choose one")
    return run(entities, full=full, window=_window(since, until), closed=bool(until), json_=json_)


@click.command()
@click.argument("entities", nargs=-1, required=True, metavar="ENTITY...")
@click.option("--since", type=MOMENT, required=True, help="From then on, inclusive.")
@click.option("--until", type=MOMENT, required=True, help="Before then, exclusive.")
@output.as_json
def backfill(entities: tuple[str, ...], *, since: datetime, until: datetime, json_: bool) -> int:
    """Read again what changed in a span of time.

    What a backfill from Dagster's UI does. Rows that are newer in the warehouse stay; the watermark
    stays where it is, so this may run at any time, beside a sync too.
    """
    window = _window(since, until)
    return run(entities, window=window, closed=True, json_=json_)


def run(
    names: Sequence[str],
    *,
    full: bool = False,
    window: Window | None = None,
    closed: bool = False,
    json_: bool = False,
) -> int:
    """Syncs and shows what came of it. Returns the exit code."""
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dagster.in_process import follow_recorded_sync  # noqa: PLC0415
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.sync.entity_sync import SyncRequest  # noqa: PLC0415

    settings = read_settings().require_tenant()
    tables = report_names(settings, names) if window is None else []
    entity_names = [name for name in names if name.removeprefix(REPORTS) not in tables]
    entities = choose(settings, entity_names) if entity_names or not names else []
    plan = SyncRequest(full, window, closed)
    place = warehouse_place(settings)
    with services.dev_services(settings) as settings:
        check_warehouse(settings)
        if not json_:
            click.echo(f"{composition.tenant(settings)} → {place}")
        began = time.monotonic()
        results = sync_and_show(settings, entities, plan, tables=tables, silent=json_)
        # The daemon does so after each refresh; here there may be none.
        follow_recorded_sync(settings, results)
    return print_results(results, time.monotonic() - began, json_=json_)


def report_names(settings: Settings, names: Sequence[str]) -> list[str]:
    """The reports that names mean; without any, those of CW_REPORTS."""
    from cw_pipeline import composition  # noqa: PLC0415

    if not names:
        return composition.report_names(settings)
    return [name.removeprefix(REPORTS) for name in names if name.startswith(REPORTS)]


def choose(settings: Settings, names: Sequence[str]) -> list[Entity]:
    """The entities that names, globs and tables mean; without any, those that are set."""
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.catalog import select  # noqa: PLC0415
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415

    if not names:
        return composition.entities(settings)
    try:
        return select(",".join(names))
    except ConfigError as error:
        raise click.UsageError(str(error).removeprefix("CW_ENTITIES: ")) from error


def sync_and_show(
    settings: Settings,
    chosen: Sequence[Entity],
    plan: SyncRequest,
    *,
    tables: Sequence[str] = (),
    silent: bool = False,
    quietly: bool = False,
) -> list[SyncResult]:
    """Syncs under the eyes of whoever sits there. Raises what kept all entities from being read.

    `tables` are reports, which are read after the entities. `silent` shows nothing, `quietly` only
    what moves on a terminal.
    """
    from cw_pipeline.dagster.in_process import run_recorded_reports, run_recorded_sync  # noqa: PLC0415
    from cw_pipeline.process import tune_process  # noqa: PLC0415
    from cw_pipeline.reports_api.api import report_entity  # noqa: PLC0415

    tune_process()
    watched = [*chosen, *map(report_entity, tables)]
    results: list[SyncResult] = []
    try:
        with Watch(settings, watched, silent=silent or (quietly and not output.lively())) as watch:

            def on_result(result: SyncResult) -> None:
                results.append(result)
                watch.note_end(result.entity, "" if quietly else line(result))

            if chosen:
                run_recorded_sync(settings, chosen, plan, on_result)
            if tables:
                run_recorded_reports(settings, tables, on_result, full=plan.full)
    except (KeyboardInterrupt, PipelineError):
        if not (silent or quietly):
            print_failures(results)  # no results will be printed, which would say them
        raise
    return results


def line(result: SyncResult) -> str:
    """What one entity's run did, in a line; empty if nothing changed or it failed.

    What failed is said once, by `print_failures` at the end.
    """
    if result.failure is not None:
        return ""
    figures = {
        "new": result.rows_inserted,
        "changed": result.rows_updated,
        "deleted": result.rows_deleted,
    }
    parts = [f"{number:,} {what}" for what, number in figures.items() if number]
    parts += [count(result.dead_letters, "dead letter")] if result.dead_letters else []
    parts += [f"warning: {warning}" for warning in result.warnings]
    return f"✓ {result.entity}: {', '.join(parts)}" if parts else ""


def print_results(results: Sequence[SyncResult], seconds: float, *, json_: bool = False) -> int:
    """Prints what a sync came to. Returns the exit code."""
    failed = [each for each in results if each.failure is not None and not is_left_to_other(each)]
    if json_:
        output.print_json({"seconds": round(seconds, 3), "entities": results})
        return 1 if failed else 0
    click.echo(summary(results, seconds))
    print_failures(results)
    if any(result.dead_letters for result in results):
        click.echo("`dead-letters list` shows what could not be loaded, and why.")
    return 1 if failed else 0


def is_left_to_other(result: SyncResult) -> bool:
    """Whether another sync has the entity, and so brings it up to date.

    No failure, or cron would mail one whenever a sync takes longer than the time to the next. What
    was asked for with --full or --since is not what the other one does.
    """
    from cw_pipeline.errors import EntityBusy  # noqa: PLC0415

    return result.kind == "refresh" and isinstance(result.failure, EntityBusy)


def print_failures(results: Sequence[SyncResult]) -> None:
    """Says on stderr which entities failed and what each needs; what all have in common, once.

    What another sync does is no failure, and said on stdout.
    """
    from cw_pipeline.errors import EntityBusy, Interrupted, SourceMissing  # noqa: PLC0415
    from cw_pipeline.sync.capabilities import NOTHING_FOUND  # noqa: PLC0415

    of = count(len(results), "entity", "entities")
    if left := [result for result in results if is_left_to_other(result)]:
        many = f"All {of} are" if len(left) == len(results) else f"{len(left):,} of {of} are"
        click.echo(f"{many} left to another sync. {_first(left)}")
    failed = [
        result
        for result in results
        # Whoever interrupts a sync needs not hear it of each entity.
        if result.failure is not None
        and not isinstance(result.failure, Interrupted)
        and result not in left
    ]
    busy = [result for result in failed if isinstance(result.failure, EntityBusy)]
    missing = [result for result in failed if isinstance(result.failure, SourceMissing)]
    if len(busy) > 1:
        many = f"all {of} are" if len(busy) == len(results) else f"{len(busy):,} of {of} are"
        click.echo(f"✗ {many} held by other runs. {_first(busy)}", err=True)
        failed = [result for result in failed if result not in busy]
    if 1 < len(missing) == len(results):
        click.echo(f"✗ all {of} answer 404. {_first(missing)}. {NOTHING_FOUND}", err=True)
        failed = []
    for result in failed:
        click.echo(f"✗ {result.entity}: {failure_advice(result)}", err=True)


def _first(results: Sequence[SyncResult]) -> str:
    return f"{results[0].entity}: {failure_advice(results[0])}"


def summary(results: Sequence[SyncResult], seconds: float) -> str:
    """The figures of a sync in a line."""
    up_to_date = [result for result in results if result.failure is None]
    totals = {
        name: sum(getattr(result, name) for result in results)
        for name in ("rows_read", "rows_inserted", "rows_updated", "rows_deleted", "requests")
    }
    of = "" if len(up_to_date) == len(results) else f"{len(up_to_date):,} of "
    entities = count(len(results), "entity", "entities")
    return (
        f"{of}{entities} up to date in {seconds:.1f} s: {totals['rows_read']:,} read,"
        f" {totals['rows_inserted']:,} new, {totals['rows_updated']:,} changed,"
        f" {totals['rows_deleted']:,} deleted; {count(totals['requests'], 'request')}"
    )


def failure_advice(result: SyncResult) -> str:
    """Why an entity failed and what to do; the request, unless it names a right or a setting."""
    from cw_pipeline.results import explain_failure  # noqa: PLC0415

    assert result.failure is not None
    why, to_do = explain_failure(result.entity, result.failure)
    request = getattr(result.failure, "request", "")
    if not to_do:
        return why
    return f"{why}; {to_do}" + (f" ({request})" if request else "")


def _window(since: datetime | None, until: datetime | None) -> Window | None:
    if since is None:
        return None
    end = until or datetime.now(UTC)
    if since >= end:
        raise click.UsageError("--since must lie before --until, and before now")
    return Window(since, end)
