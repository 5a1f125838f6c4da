"""The warehouse, for commands that only look into what is kept there."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cw_pipeline.cli.configuration import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cw_pipeline.load import Warehouse


@contextmanager
def warehouse() -> Iterator[Warehouse]:
    """The warehouse, migrated: it must have what is to be looked into."""
    from cw_pipeline import ground, wiring  # noqa: PLC0415 - see cli/__init__.py
    from cw_pipeline.load import migrate  # noqa: PLC0415

    with ground.warehoused(read_settings()) as settings:
        migrate(wiring.dsn(settings), settings.schema_, [])
        with wiring.warehouse(settings) as opened:
            yield opened
