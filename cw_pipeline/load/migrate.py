"""Creates and upgrades the schemas: versioned SQL for the state, the catalog for the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from cw_pipeline.database import sqlalchemy_transaction
from cw_pipeline.errors import WarehouseError
from cw_pipeline.load import versions
from cw_pipeline.load.history import track, tracked
from cw_pipeline.load.tables import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.model import Entity

_LOCK = 7_239_001  # any number that nothing else here uses


def migrate(
    dsn: str, tenant: str, entities: Iterable[Entity], history_columns: str | None = None
) -> None:
    """Brings the state schema and the entities' tables up to this version. Drops nothing.

    `history_columns` are those of CW_HISTORY_COLUMNS, whose changes are kept beside the usual ones;
    None leaves what is chosen as it is. Raises ConfigError if one of them is unknown,
    WarehouseError if the warehouse cannot be reached, is newer, or refuses.
    """
    columns = tracked(history_columns)
    kept = history_columns is None
    with sqlalchemy_transaction(dsn) as connection:
        # Two processes starting at once must not both create.
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text("create schema if not exists cw_sync"))
        here = versions.version(connection)
        if fault := versions.fault(here):
            raise WarehouseError(fault)
        versions.upgrade(connection, here)
        create_tables(connection, tenant, entities)
        track(connection, tenant, columns, and_before=kept)


def version_fault(dsn: str) -> str | None:
    """What is wrong with the warehouse's version, or None. Changes nothing."""
    with sqlalchemy_transaction(dsn) as connection:
        return versions.fault(versions.version(connection))
