"""`migrate` and `test`."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from cw_pipeline.cli import show


@click.command()
def migrate() -> None:
    """Create and upgrade the schemas. Every sync does this too; nothing is ever dropped."""
    from cw_pipeline import ground, wiring  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.load import migrate as bring_up  # noqa: PLC0415
    from cw_pipeline.settings import Settings  # noqa: PLC0415

    with ground.warehoused(Settings.read()) as settings:
        entities = wiring.entities(settings)
        bring_up(wiring.dsn(settings), settings.schema_, entities)
    tables = show.count(len(entities), "entity", "entities")
    click.echo(f"Schemas cw_sync and {settings.schema_} are up to date: tables of {tables}.")


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> int:
    """Run the tests. Arguments go to pytest."""
    from cw_pipeline.paths import IS_CHECKOUT, ROOT  # noqa: PLC0415

    if not IS_CHECKOUT:
        raise click.UsageError("the tests are in the project's checkout, and this is none")
    quiet = "-v" if os.environ.get("CI") else "-q"
    command = [sys.executable, "-m", "pytest", quiet, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode
