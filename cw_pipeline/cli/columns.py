"""`columns`: fields that ConnectWise has added, and how they become columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cw_pipeline.cli import output, store
from cw_pipeline.wording import count, moment

if TYPE_CHECKING:
    from cw_pipeline.warehouse.promotions import SchemaDriftEntry

KINDS = ("text", "bigint", "numeric", "boolean", "timestamptz", "date", "jsonb")


@click.group(cls=output.Group, context_settings={"help_option_names": ["-h", "--help"]})
def columns() -> None:
    """Fields that ConnectWise has sent and that have no column.

    Their values are kept in `_extra` from the first record on.
    """


@columns.command("list")
@click.option("--entity", help="Of this entity only.")
@output.as_json
def list_(entity: str | None, *, json_: bool) -> None:
    """Fields that ConnectWise has sent and that are not as the catalog says."""
    from cw_pipeline.warehouse.promotions import unknown_fields  # noqa: PLC0415 - see cli/__init__.py

    entity_name = store.entity_name(entity)
    with store.warehouse() as warehouse:
        entries = [
            entry
            for entry in unknown_fields(warehouse)
            if entity_name is None or entry.entity == entity_name
        ]
    if json_:
        output.print_json(entries)
    elif not entries:
        click.echo("Every field that ConnectWise has sent has a column.")
    else:
        heads = ("entity ", "field ", "what ", "since ", "last seen ", "for example ")
        output.table(heads, [_row(entry) for entry in entries])
        click.echo("\n`columns promote ENTITY FIELD` makes a column of an unknown field.")


@columns.command()
@click.argument("entity")
@click.argument("field")
@click.option("--type", "kind", type=click.Choice(KINDS), help="Instead of the one that fits all.")
@output.as_json
def promote(entity: str, field: str, kind: str | None, *, json_: bool) -> None:
    """Make FIELD a column, filled with every value that is stored.

    The API is not asked. FIELD is the record's, with dots: `newField`, `status.sort`. The type is
    the narrowest that holds all stored values exactly; an object gives a column for each value in
    it. A promoted column gets a wider type by promoting it again with --type.
    """
    from cw_pipeline.catalog import CATALOG  # noqa: PLC0415
    from cw_pipeline.model import Kind  # noqa: PLC0415
    from cw_pipeline.warehouse.promotions import promote as promote_field  # noqa: PLC0415

    declared = CATALOG[store.entity_name(entity) or ""]
    with store.warehouse() as warehouse:
        promotions = promote_field(warehouse, declared, field, Kind(kind) if kind else None)
    if json_:
        output.print_json(promotions)
        return
    for promotion in promotions:
        column = f"{promotion.table}.{promotion.column} ({promotion.kind})"
        click.echo(f"{column}: {count(promotion.rows, 'row')} filled")


def _row(entry: SchemaDriftEntry) -> tuple[str, ...]:
    return (
        entry.entity,
        entry.field,
        entry.change,
        moment(entry.first_seen),
        moment(entry.last_seen),
        entry.sample,
    )
