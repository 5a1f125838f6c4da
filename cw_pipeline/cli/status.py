"""`status`: how the warehouse stands. Asks nobody else, so it works while the tenant is out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import output
from cw_pipeline.cli.configuration import read_settings, sources
from cw_pipeline.wording import age, count, moment

_SHOWN = 5  # names in a line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.settings import Settings
    from cw_pipeline.warehouse.status import ClockDisorder, EntityStatus


@click.command()
@output.as_json
def status(*, json_: bool) -> None:
    """How complete each table is, and what went wrong.

    "Complete through" is a promise: every change made at the source until then is in the warehouse.
    For lists that are read below a parent it is the parent whose turn was longest ago.

    Shows what CW_ENTITIES, CW_AUDIT_TRAIL, CW_DOCUMENTS and CW_REPORTS name, and what else was
    synced by name in a line: nothing keeps that up to date.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py

    settings = read_settings()
    with services.dev_warehouse(settings) as settings:
        statuses, disorder = read(settings), read_clock_disorder(settings)
    configured = composition.configured_names(settings)
    entities = [entity for entity in statuses if entity.entity in configured]
    others = [entity.entity for entity in statuses if entity.entity not in configured]
    if json_:
        answer = {"schema": settings.schema_, "entities": entities, "not_kept_up": others}
        places = {"settings": sources().settings, "state": sources().state}
        output.print_json({**places, **answer, "clock_disorder": disorder})
        return
    if statuses:
        _print(entities, configured, others)
        if disorder is not None:
            click.echo(f"! {moment(disorder.seen_at)}: {disorder.detail}")
    else:
        click.echo("Nothing has been synced yet: `sync` does, `demo` shows it on made-up data.")
    click.echo(f"Settings: {sources().settings}. State: {sources().state}.")


def read(settings: Settings) -> list[EntityStatus]:
    """Every entity that was ever touched. Raises WarehouseError."""
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline(settings).status()


def read_clock_disorder(settings: Settings) -> ClockDisorder | None:
    """How the clocks differed in the last day, if they did. Raises WarehouseError."""
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline(settings).clock_disorder()


def check_warehouse(settings: Settings) -> None:
    """Raises WarehouseError that says what is wrong with the warehouse, if anything is.

    At once, where a connection pool would go on trying for a minute.
    """
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.errors import WarehouseError  # noqa: PLC0415
    from cw_pipeline.warehouse import version_fault  # noqa: PLC0415

    if fault := version_fault(composition.dsn(settings)):
        raise WarehouseError(fault)


def _print(
    entities: Sequence[EntityStatus], configured: Sequence[str], others: Sequence[str]
) -> None:
    heads = ("entity ", "complete through ", "age", "rows", "last run ", "dead letters", "drift")
    if entities:
        output.table((*heads, "column drift"), [_row(entity) for entity in entities])
        click.echo()
    click.echo(totals(entities))
    for note in (*_notes(entities), *_differences_from_settings(entities, configured, others)):
        click.echo(note)


def _row(entity: EntityStatus) -> tuple[str, ...]:
    return (
        entity.entity,
        moment(entity.complete_through) or "never",
        age(entity.age),
        "" if entity.rows is None else f"{entity.rows:,}",
        _last_run_text(entity),
        f"{entity.dead_letters:,}" if entity.dead_letters else "",
        f"{entity.drift:,}" if entity.drift else "",
        f"{entity.column_drift:,}" if entity.column_drift else "",
    )


def _last_run_text(entity: EntityStatus) -> str:
    run = entity.last_run
    if run is None:
        return ""
    # One that was killed, or goes on, has not said yet.
    parts = [f"{run.rows_read:,} read"] if run.finished_at else []
    parts += [f"{run.rows_inserted:,} new"] if run.rows_inserted else []
    parts += [f"{run.rows_updated:,} changed"] if run.rows_updated else []
    return ", ".join([f"{run.kind} {run.status} {run.started_at:%H:%M}", *parts])


def totals(entities: Sequence[EntityStatus]) -> str:
    """All entities in a line."""
    through = [entity.complete_through for entity in entities if entity.complete_through]
    oldest = f", complete through {moment(min(through))}" if through else ""
    unfinished = len(entities) - len(through)
    oldest += f" but for {unfinished:,} that never came to an end" if unfinished and through else ""
    rows = sum(entity.rows or 0 for entity in entities)
    letters = sum(entity.dead_letters for entity in entities)
    return (
        f"{count(len(entities), 'entity', 'entities')}, {count(rows, 'row')}{oldest};"
        f" {count(letters, 'open dead letter')}"
    )


def _notes(entities: Sequence[EntityStatus]) -> list[str]:
    """What somebody should look at, one line each."""
    from cw_pipeline.warehouse.status import (  # noqa: PLC0415
        explain_count_difference,
        explain_silent_changes,
    )

    notes = []
    for entity in entities:
        notes += _last_run_notes(entity)
        if entity.quarantined:
            rows = count(entity.quarantined, "row")
            notes.append(
                f"! {entity.entity}: {rows} no longer listed at the source were kept by the guard."
                " `reconcile --list-deletes` lists them, `reconcile --apply-deletes` deletes them"
                " if they are really gone"
            )
        if entity.proven is False:
            notes.append(f"! {entity.entity}: the last reconcile could not prove it equal")
        if entity.counts_differ:
            notes.append(f"! {entity.entity}: {explain_count_difference(entity)}")
        if entity.drifts:
            notes.append(f"! {entity.entity}: {explain_silent_changes(entity)}")
    return notes


def _last_run_notes(entity: EntityStatus) -> list[str]:
    """What to say of a run that is going on, or did not end well."""
    run = entity.last_run
    if run is None or run.status == "done":
        return []
    if run.status == "started":
        return [f"… {entity.entity}: {run.kind} since {moment(run.started_at)}"]
    if run.status == "interrupted":
        since = f"that began {moment(run.started_at)} was killed or lost its machine"
        how = f"interrupted {moment(run.finished_at)}" if run.finished_at else since
        advice = "What was read is kept; the next sync goes on from there"
        return [f"! {entity.entity}: {run.kind} {how}. {advice}"]
    return [f"✗ {entity.entity}: {run.error}"]


def _differences_from_settings(
    entities: Sequence[EntityStatus], configured: Sequence[str], others: Sequence[str]
) -> list[str]:
    """What is wanted and not there yet, and what is there and no longer wanted."""
    touched = {entity.entity for entity in entities}
    missing = [name for name in configured if name not in touched]
    notes = [f"{_count_entities(missing)} never synced: {_first_names(missing)}"] if missing else []
    if others:
        names = f"{_count_entities(others)} not named by CW_ENTITIES: {_first_names(others)}"
        notes.append(f"{names}. The rows stay as they are until you sync them by name")
    return notes


def _count_entities(names: Sequence[str]) -> str:
    return count(len(names), "entity", "entities")


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
