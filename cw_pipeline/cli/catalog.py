"""`catalog`: what can be synced."""

from __future__ import annotations

from pathlib import Path

import click

from cw_pipeline.cli import show


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def catalog() -> None:
    """What can be synced, and where those facts come from."""


@catalog.command("list")
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@show.as_json
def list_(entities: tuple[str, ...], *, json_: bool) -> None:
    """Every list the catalog knows, or those that names and globs choose."""
    from cw_pipeline.catalog import select  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415

    try:
        chosen = select(",".join(entities) or "all")
    except ConfigError as error:
        raise click.UsageError(str(error).removeprefix("CW_ENTITIES: ")) from error
    chosen = sorted(chosen, key=lambda entity: entity.name)
    if json_:
        names = ("name", "path", "table", "keeping", "parent", "core", "description")
        show.print_json([{name: getattr(entity, name) for name in names} for entity in chosen])
        return
    heads = ("entity ", "table ", "read by ", "core ", "what it is ")
    show.table(
        heads,
        [
            (each.name, each.table, each.keeping, "core" if each.core else "", each.description)
            for each in chosen
        ],
    )


@catalog.command()
@click.argument("openapi_file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def build(openapi_file: Path) -> None:
    """Take the facts from the vendor's OpenAPI file (.json or .json.gz)."""
    from cw_pipeline.catalog import facts, openapi  # noqa: PLC0415

    target = Path(facts.__file__).with_name("facts.json")
    written = openapi.write_facts(openapi_file, target)
    lists, models = written["lists"], written["models"]
    click.echo(
        f"{target}: {len(lists):,} lists, {len(models):,} models. `git diff` shows the news."
    )
