"""`dead-letters`: records that could not be loaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import output, store
from cw_pipeline.cli.configuration import read_settings
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from cw_pipeline.warehouse.dead_letters import DeadLetter, DeadLetterEvent

BROUGHT_BACK = ("loaded", "gone at the source")


@click.group(cls=output.Group, context_settings={"help_option_names": ["-h", "--help"]})
def dead_letters() -> None:
    """Records that could not be loaded: look, retry, discard.

    Each is kept whole, with the request and the reason. Later syncs try them again by themselves,
    at growing intervals, and one closes by itself when a good copy arrives.
    """


@dead_letters.command("list")
@click.option("--entity", help="Of this entity only.")
@output.as_json
def list_(entity: str | None, *, json_: bool) -> None:
    """What is not in the warehouse, and why."""
    from cw_pipeline.warehouse.dead_letters import open_dead_letters  # noqa: PLC0415 - see cli/__init__.py

    entity_name = store.entity_name(entity)
    with store.warehouse() as warehouse, warehouse.connection() as connection:
        letters = open_dead_letters(connection, warehouse.schema, entity_name)
    if json_:
        output.print_json(letters)
    elif not letters:
        click.echo("No open dead letters.")
    else:
        heads = ("id", "entity ", "record", "reason ", "tries", "since ", "next try ")
        output.table(heads, [_row(letter) for letter in letters])
        click.echo(f"\n{count(len(letters), 'open dead letter')}. `dead-letters show ID`")


@dead_letters.command("show")
@click.argument("letter_id", type=int, metavar="ID")
@output.as_json
def show_(letter_id: int, *, json_: bool) -> int:
    """One dead letter: its reason, its history and the record as it came."""
    from cw_pipeline.warehouse.dead_letters import events, letter  # noqa: PLC0415

    with store.warehouse() as warehouse, warehouse.connection() as connection:
        dead_letter = letter(connection, warehouse.schema, letter_id)
        history = events(connection, letter_id) if dead_letter else []
    if dead_letter is None:
        click.echo(f"There is no dead letter {letter_id}.", err=True)
        return 1
    if json_:
        output.print_json({"letter": dead_letter, "events": history})
    else:
        _print(dead_letter, history)
    return 0


@dead_letters.command()
@click.argument("letter_ids", type=int, nargs=-1, metavar="[ID]...")
@output.as_json
def replay(letter_ids: tuple[int, ...], *, json_: bool) -> int:
    """Read the records again and load what is good now; all open ones without an ID."""
    from cw_pipeline.dev import services  # noqa: PLC0415
    from cw_pipeline.pipeline import Pipeline  # noqa: PLC0415
    from cw_pipeline.process import tune_process  # noqa: PLC0415

    tune_process()
    settings = read_settings().require_tenant()
    outcomes: list[tuple[int, str]] = []
    with services.dev_services(settings) as settings, Pipeline(settings) as pipeline:
        for letter_id, outcome in pipeline.replay(*letter_ids):
            outcomes.append((letter_id, outcome))
            if not json_:
                missing = "there is no open dead letter with this id"
                click.echo(f"{letter_id}: {missing if outcome == 'not open' else outcome}")
    if json_:
        output.print_json(
            [{"id": letter_id, "outcome": outcome} for letter_id, outcome in outcomes]
        )
    elif not outcomes:
        click.echo("No open dead letters.")
    return 0 if all(outcome in BROUGHT_BACK for _, outcome in outcomes) else 1


@dead_letters.command()
@click.argument("letter_id", type=int, metavar="ID")
@click.option("--why", default="by hand", show_default=True, help="Kept in its history.")
@output.as_json
def discard(letter_id: int, *, why: str, json_: bool) -> int:
    """Give one up for good: it is not tried again, and stays in the store."""
    from cw_pipeline.warehouse.dead_letters import discard as close  # noqa: PLC0415

    with store.warehouse() as warehouse, warehouse.connection() as connection:
        closed = close(connection, warehouse.schema, letter_id, why)
    if json_:
        output.print_json({"id": letter_id, "discarded": closed})
    else:
        message = f"Dead letter {letter_id} discarded."
        click.echo(message if closed else f"No open dead letter {letter_id}.", err=not closed)
    return 0 if closed else 1


def _row(letter: DeadLetter) -> tuple[str, ...]:
    record = "" if letter.record_id is None else str(letter.record_id)
    return (
        str(letter.id),
        letter.entity,
        record if letter.parent_id is None else f"{letter.parent_id}/{record}",
        letter.reason,
        str(letter.attempts),
        moment(letter.first_seen),
        moment(letter.retry_at),
    )


def _print(letter: DeadLetter, history: list[DeadLetterEvent]) -> None:
    record = "without an id" if letter.record_id is None else str(letter.record_id)
    below = "" if letter.parent_id is None else f" below {letter.parent_id}"
    closed = moment(letter.resolved_at)
    state = f"closed {closed}: {letter.resolution}" if closed else "open"
    click.echo(f"{letter.entity} {record}{below}, {state}")
    click.echo(f"{letter.reason}: {letter.detail}")
    if letter.request:
        click.echo(letter.request)
    click.echo()
    for event in history:
        click.echo(f"{moment(event.at)}  {event.what}  {event.detail}")
    if letter.payload:
        click.echo(f"\n{json.dumps(json.loads(letter.payload), indent=2, ensure_ascii=False)}")
