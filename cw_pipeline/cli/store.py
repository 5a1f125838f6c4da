"""The warehouse, for commands that only look into what is kept there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cw_pipeline.cli.configuration import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.warehouse import Database


@contextmanager
def warehouse() -> Iterator[Database]:
    """The warehouse, migrated: it must have what is to be looked into."""
    from cw_pipeline import composition  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.dev import services  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.warehouse import migrate  # noqa: PLC0415

    with services.dev_warehouse(read_settings()) as settings:
        migrate(composition.dsn(settings), settings.schema_, [])
        with composition.warehouse(settings) as database:
            yield database


def entity_name(entity: str | None) -> str | None:
    """The name of the entity that a name or a table means; None if none is given.

    Raises click.UsageError for what is none, lest "nothing found" be said of a misspelled one.
    """
    from cw_pipeline.catalog import select  # noqa: PLC0415
    from cw_pipeline.errors import ConfigError  # noqa: PLC0415

    if entity is None or entity.startswith("system/reports/"):
        return entity
    try:
        (declared,) = select(entity)
    except ConfigError as error:
        raise click.UsageError(str(error).removeprefix("CW_ENTITIES: ")) from error
    except ValueError as error:
        raise click.UsageError(f"{entity!r} means several entities: name one") from error
    return declared.name
