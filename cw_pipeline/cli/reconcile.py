"""`reconcile`: proof that warehouse and tenant hold the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import output
from cw_pipeline.cli.configuration import read_settings, warehouse_place
from cw_pipeline.cli.sync import choose
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Audit, Entity
    from cw_pipeline.settings import Settings
    from cw_pipeline.warehouse.status import DeleteCandidate


@click.command()
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@click.option(
    "--apply-deletes", is_flag=True, help="Delete what is gone, however much it is, this once."
)
@click.option(
    "--list-deletes", is_flag=True, help="List the rows that were kept, without asking ConnectWise."
)
@click.option(
    "--reread", is_flag=True, help="Read the next slice of each list again, whatever stamps say."
)
@output.as_json
def reconcile(
    entities: tuple[str, ...],
    *,
    apply_deletes: bool,
    list_deletes: bool,
    reread: bool,
    json_: bool,
) -> int:
    """Prove that warehouse and tenant hold the same, and mend what differs.

    Compares every id and stamp of a list with its table. What is missing or stale is read again;
    what is gone at the source is marked deleted, unless so much would go that a narrowed security
    role is the likelier reason: then it is kept, and --list-deletes lists it.

    Exits 0 if all is proven, 1 if something is left that needs a look.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev import services  # noqa: PLC0415

    if apply_deletes + list_deletes + reread > 1:
        raise click.UsageError("--apply-deletes, --list-deletes and --reread exclude each other")
    settings = read_settings()
    if list_deletes:
        return _list_deletes(settings, entities, json_=json_)
    settings.require_tenant()
    chosen = choose(settings, entities)
    if reread:
        return _reread(settings, chosen, json_=json_)
    place = warehouse_place(settings)
    with services.dev_services(settings) as settings:
        if not json_:
            click.echo(f"{composition.tenant(settings)} → {place}")
        audits = run(settings, chosen, apply_deletes=apply_deletes, silent=json_)
    if json_:
        output.print_json({"audits": audits})
    else:
        click.echo(summary(audits))
    return 0 if all(audit.proven for audit in audits) else 1


def _list_deletes(settings: Settings, entities: tuple[str, ...], *, json_: bool) -> int:
    """Shows what the guard kept."""
    from cw_pipeline.dev import services  # noqa: PLC0415

    names = [entity.name for entity in choose(settings, entities)] if entities else None
    with services.dev_warehouse(settings) as filled:
        candidates = _read_candidates(filled, names)
    if json_:
        output.print_json({"candidates": candidates})
    elif not candidates:
        click.echo("No rows are kept that the source no longer lists.")
    else:
        heads = ("entity ", "parent", "id", "missed since ", "kept because ")
        output.table(heads, [_candidate(row) for row in candidates])
        click.echo("\nIf they are really gone, `reconcile --apply-deletes` deletes them, once.")
    return 0


def _read_candidates(settings: Settings, names: list[str] | None) -> list[DeleteCandidate]:
    from cw_pipeline import composition  # noqa: PLC0415
    from cw_pipeline.cli.status import check_warehouse  # noqa: PLC0415
    from cw_pipeline.warehouse.status import delete_candidates  # noqa: PLC0415

    check_warehouse(settings)
    with composition.warehouse(settings) as warehouse, warehouse.connection() as connection:
        return delete_candidates(connection, warehouse.schema, names)


def _candidate(row: DeleteCandidate) -> tuple[str, ...]:
    parent = "" if row.parent_id is None else str(row.parent_id)
    return row.entity, parent, str(row.record_id), moment(row.seen_at), row.reason


def _reread(settings: Settings, chosen: Sequence[Entity], *, json_: bool) -> int:
    """The next night of the rotation."""
    from cw_pipeline.dev import services  # noqa: PLC0415

    with services.dev_services(settings) as filled:
        audits = read_again(filled, chosen)
    if json_:
        output.print_json({"audits": audits})
    else:
        for audit in audits:
            text = "" if audit.failure else f"{count(audit.source_rows, 'record')} read again"
            drift = f"{audit.drift:,} had changed although lastUpdated had not moved"
            click.echo(f"{audit.entity}: {audit.detail or text}, {drift}")
    return 1 if any(audit.failure for audit in audits) else 0


def read_again(settings: Settings, chosen: Sequence[Entity]) -> list[Audit]:
    """Reads the next slice of each list again: what was found. The run shows in Dagster's UI."""
    from cw_pipeline.dagster.in_process import run_recorded_reread  # noqa: PLC0415
    from cw_pipeline.process import tune_process  # noqa: PLC0415

    tune_process()
    audits: list[Audit] = []
    run_recorded_reread(settings, chosen, audits.append)
    return audits


def run(
    settings: Settings,
    chosen: Sequence[Entity],
    *,
    apply_deletes: bool = False,
    silent: bool = False,
    quietly: bool = False,
) -> list[Audit]:
    """Reconciles under the eyes of whoever sits there: the audits as they were written down.

    The run shows in Dagster's UI. `silent` shows nothing, `quietly` only what moves on a terminal.
    """
    from cw_pipeline.cli.sync import Watch  # noqa: PLC0415
    from cw_pipeline.dagster.in_process import run_recorded_reconcile  # noqa: PLC0415
    from cw_pipeline.process import tune_process  # noqa: PLC0415

    tune_process()
    audits: list[Audit] = []
    silent = silent or (quietly and not output.lively())
    with Watch(settings, chosen, silent=silent) as watch:

        def on_audit(audit: Audit) -> None:
            audits.append(audit)
            text = "" if quietly else line(audit)
            watch.note_end(audit.entity, text, failed=not audit.proven)

        run_recorded_reconcile(settings, chosen, on_audit, apply_deletes=apply_deletes)
    return audits


def line(audit: Audit) -> str:
    """What one audit found, in a line; empty if all was well."""
    figures = {
        "missing": audit.missing,
        "stale": audit.stale,
        "no longer listed": audit.extra,
        "repaired": audit.healed,
        "deleted": audit.deleted,
    }
    parts = [f"{number:,} {what}" for what, number in figures.items() if number]
    parts += [audit.detail] if audit.detail else []
    sign = "✓" if audit.proven else "✗"
    return f"{sign} {audit.entity}: {', '.join(parts)}" if parts or not audit.proven else ""


def summary(audits: Sequence[Audit]) -> str:
    """All audits in a line."""
    proven = sum(audit.proven for audit in audits)
    repaired = sum(audit.healed for audit in audits)
    deleted = sum(audit.deleted for audit in audits)
    rows = sum(audit.proven_rows for audit in audits)
    return (
        f"{proven} of {count(len(audits), 'entity', 'entities')} proven equal,"
        f" {count(rows, 'row')}; {repaired:,} repaired, {deleted:,} marked deleted"
    )
