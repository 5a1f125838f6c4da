"""`reconcile`: proof that warehouse and tenant hold the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import show
from cw_pipeline.cli.sync import choose, with_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cw_pipeline.model import Audit, Entity
    from cw_pipeline.settings import Settings


@click.command()
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@click.option(
    "--apply-deletes", is_flag=True, help="Delete what is gone, however much it is, this once."
)
@show.as_json
def reconcile(entities: tuple[str, ...], *, apply_deletes: bool, json_: bool) -> int:
    """Prove that warehouse and tenant hold the same, and mend what differs.

    Compares every id and stamp of a list with its table. What is missing or stale is read again;
    what is gone at the source is marked deleted, unless so much would go that a narrowed security
    role is the likelier reason.

    Exits 0 if all is proven, 1 if something is left that needs a look.
    """
    from cw_pipeline import ground  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    settings = Settings.read().require_tenant()
    chosen = choose(settings, entities)
    with ground.grounded(settings) as settings:
        audits = run(settings, chosen, apply_deletes=apply_deletes, silent=json_)
    if json_:
        show.print_json({"audits": audits})
    else:
        click.echo(summary(audits))
    return 0 if all(audit.proven for audit in audits) else 1


def run(
    settings: Settings,
    chosen: Sequence[Entity],
    *,
    apply_deletes: bool = False,
    silent: bool = False,
    quietly: bool = False,
) -> list[Audit]:
    """Reconciles under the eyes of whoever sits there: the audits as they were written down.

    `silent` shows nothing, `quietly` only what moves on a terminal.
    """
    from cw_pipeline import wiring  # noqa: PLC0415
    from cw_pipeline.cli.watch import Watch  # noqa: PLC0415
    from cw_pipeline.reconcile import reconcile_all  # noqa: PLC0415

    settings = with_tables(settings, chosen)
    audits = []
    with (
        wiring.connected(settings) as engine,
        Watch(settings, chosen, silent=silent or (quietly and not show.lively())) as watch,
    ):
        for audit in reconcile_all(chosen, engine, apply_deletes=apply_deletes):
            watch.finished(audit.entity, "" if quietly else line(audit))
            audits.append(audit)
    return audits


def line(audit: Audit) -> str:
    """What one audit found, in a line; empty if all was well."""
    found = {
        "missing": audit.missing,
        "stale": audit.stale,
        "no longer listed": audit.extra,
        "healed": audit.healed,
        "deleted": audit.deleted,
    }
    parts = [f"{number:,} {what}" for what, number in found.items() if number]
    parts += [audit.detail] if audit.detail else []
    sign = "✓" if audit.proven else "✗"
    return f"{sign} {audit.entity}: {', '.join(parts)}" if parts or not audit.proven else ""


def summary(audits: Sequence[Audit]) -> str:
    """All audits in a line."""
    proven = sum(audit.proven for audit in audits)
    healed = sum(audit.healed for audit in audits)
    deleted = sum(audit.deleted for audit in audits)
    rows = sum(audit.warehouse_rows or 0 for audit in audits)
    return (
        f"{proven} of {show.count(len(audits), 'entity', 'entities')} proven equal,"
        f" {show.count(rows, 'row')}; {healed:,} healed, {deleted:,} marked deleted"
    )
