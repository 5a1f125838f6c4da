"""`callbacks`: registrations with ConnectWise."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import output
from cw_pipeline.cli.configuration import read_settings
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.connectwise import ConnectWise
    from cw_pipeline.settings import Settings


@click.group()
def callbacks() -> None:
    """What ConnectWise tells us of by itself.

    `live` takes the callbacks of ConnectWise at the address in CW_CALLBACK_URL. These commands
    register that address for the types of records that are synced. Registrations of others are
    never touched.
    """


@callbacks.command("plan")
@output.as_json
def plan_command(*, json_: bool) -> int:
    """Show what `apply` would do; changes nothing.

    Exits 0 if nothing is to be done, 1 otherwise.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.live.registrations import steps_to_do  # noqa: PLC0415

    with _source() as (settings, source):
        steps = steps_to_do(source, settings, composition.entities(settings))
    if json_:
        output.print_json(steps)
    else:
        for step in steps:
            click.echo(f"{step.action:7} {step.type}: {step.why}")
        click.echo(f"{count(len(steps), 'step')} to do." if steps else "All are registered.")
    return 1 if steps else 0


@callbacks.command("apply")
def apply_command() -> int:
    """Register what is missing, repair what is switched off, remove what nothing needs.

    The one command that changes something in ConnectWise. The API member needs the right to.
    """
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.live.registrations import callback_url, carry_out, steps_to_do  # noqa: PLC0415

    with _source() as (settings, source):
        steps = steps_to_do(source, settings, composition.entities(settings))
        for step in steps:
            carry_out(source, step, callback_url(settings))
            click.echo(f"{step.action:7} {step.type}: done")
    click.echo(f"{count(len(steps), 'step')} done." if steps else "All were registered already.")
    return 0


@callbacks.command("list")
@output.as_json
def list_command(*, json_: bool) -> int:
    """Show the registrations that are ours, as ConnectWise has them."""
    from cw_pipeline.live.registrations import registrations  # noqa: PLC0415 - see cli/__init__.py

    with _source() as (settings, source):
        found = registrations(source, settings)
    if json_:
        # Not the address: its token tells this tenant's callbacks apart.
        shown = [
            {"id": e.id, "type": e.type, "level": e.level, "active": e.is_active} for e in found
        ]
        output.print_json(shown)
        return 0
    rows = [[str(e.id), e.type, e.level, "yes" if e.is_active else "no"] for e in found]
    output.table(["id", "type", "level", "active"], rows)
    return 0


@callbacks.command("remove")
def remove_command() -> int:
    """Remove all registrations that are ours."""
    from cw_pipeline.live.registrations import carry_out, plan, registrations  # noqa: PLC0415 - see cli/__init__.py

    with _source() as (settings, source):
        steps = plan(registrations(source, settings), [], "")
        for step in steps:
            carry_out(source, step, "")
    click.echo(f"{count(len(steps), 'registration')} removed.")
    return 0


@contextmanager
def _source() -> Iterator[tuple[Settings, ConnectWise]]:
    """The settings, and the API that they name. No warehouse is needed."""
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.connectwise import INTERACTIVE  # noqa: PLC0415
    from cw_pipeline.live.registrations import callback_prefix  # noqa: PLC0415

    settings = read_settings().require_tenant()
    callback_prefix(settings)
    with composition.source(settings, policy=INTERACTIVE) as source:
        yield settings, source
