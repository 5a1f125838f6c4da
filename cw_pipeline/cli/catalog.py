"""`catalog`: what can be synced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cw_pipeline.cli import output
from cw_pipeline.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cw_pipeline.model import Column, Entity


@click.group(cls=output.Group, context_settings={"help_option_names": ["-h", "--help"]})
def catalog() -> None:
    """What can be synced, and where those facts come from."""


@catalog.command("list")
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@click.option("--columns", is_flag=True, help="Every column: table, name, type and field.")
@click.option("--left-out", is_flag=True, help="The lists that are not synced, and why.")
@output.as_json
def list_(entities: tuple[str, ...], *, columns: bool, left_out: bool, json_: bool) -> None:
    """Every list the catalog knows, or those that names and globs choose.

    How each is kept up to date: `incremental` asks for what changed, `full` reads the list whole
    and compares, `per parent` reads it parent by parent.
    """
    if left_out:
        _left_out(json_=json_)
        return
    chosen = _select(entities)
    if json_:
        output.print_json([_plain(entity) for entity in chosen])
    elif columns:
        output.table(
            ("table ", "column ", "type ", "key ", "field "),
            [row for entity in chosen for row in _columns(entity)],
        )
    else:
        heads = ("entity ", "table ", "key ", "mode ", "core ", "what it is ")
        output.table(heads, map(_row, chosen))


def _select(entities: tuple[str, ...]) -> list[Entity]:
    from cw_pipeline.catalog import select  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415

    try:
        chosen = select(",".join(entities) or "all")
    except ConfigError as error:
        raise click.UsageError(str(error).removeprefix("CW_ENTITIES: ")) from error
    return sorted(chosen, key=lambda entity: entity.name)


def _row(entity: Entity) -> tuple[str, ...]:
    core = "core" if entity.core else ""
    return (
        entity.name,
        entity.table,
        ", ".join(entity.key),
        entity.mode.name.lower().replace("_", " "),
        core,
        entity.description,
    )


def _columns(entity: Entity) -> Iterator[tuple[str, ...]]:
    """The columns of an entity's table and of its arrays' tables, keys first."""
    outside = [column for column in entity.row_columns if not column.path]
    yield from _column_rows(entity.table, [*outside, *entity.columns], entity.key)
    for array in entity.arrays:
        yield from _column_rows(
            array.table, array.row_columns, ("parent_id", "position"), array.field
        )


def _column_rows(
    table: str, columns: Sequence[Column], key: tuple[str, ...], above: str = ""
) -> Iterator[tuple[str, ...]]:
    for column in sorted(columns, key=lambda each: (each.name not in key, each.name[0] == "_")):
        field = ".".join((above, *column.path) if above and column.path else column.path)
        yield table, column.name, column.kind, "key" if column.name in key else "", field


def _plain(entity: Entity) -> dict[str, Any]:
    """An entity for programs."""
    names = ("name", "path", "table", "key", "mode", "parent", "core", "description")
    heads = ("table", "column", "type", "key", "field")
    columns = [dict(zip(heads, row, strict=True)) for row in _columns(entity)]
    fields = {name: getattr(entity, name) for name in names}
    return fields | {"keeping": entity.mode, "columns": columns}  # its name until 0.1


def _left_out(*, json_: bool) -> None:
    from cw_pipeline.catalog import CATALOG  # noqa: PLC0415
    from cw_pipeline.catalog.left_out import reasons  # noqa: PLC0415

    whys = reasons({one.path for one in CATALOG.declared.values()})
    rows = [(path, why) for path, why in sorted(whys.items()) if why]
    if json_:
        output.print_json([{"path": path, "reason": why} for path, why in rows])
    else:
        output.table(("path ", "why it is left out "), rows)


@catalog.command()
@click.argument("openapi_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def build(openapi_file: Path) -> None:
    """Take the facts from the vendor's OpenAPI file (.json or .json.gz)."""
    from cw_pipeline.catalog import facts, openapi  # noqa: PLC0415

    target = Path(facts.__file__).with_name("facts.json")
    written = openapi.write_facts(openapi_file, target)
    lists, models = written["lists"], written["models"]
    click.echo(
        f"{target}: {count(len(lists), 'list')}, {count(len(models), 'model')}."
        " `git diff` shows what is new."
    )
