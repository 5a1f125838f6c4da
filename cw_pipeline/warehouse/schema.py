"""Creates and upgrades the schemas: versioned SQL for the state, the catalog for the tables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cw_pipeline.errors import WarehouseError
from cw_pipeline.warehouse import versions
from cw_pipeline.warehouse.database import create_schemas, sqlalchemy_transaction, transaction
from cw_pipeline.warehouse.ddl import patiently
from cw_pipeline.warehouse.history import parse_history_columns, set_history_columns
from cw_pipeline.warehouse.tables import create_tables, driver, widen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cw_pipeline.model import Entity
    from cw_pipeline.warehouse.ddl import Attempt

_LOCK = 7_239_001  # any number that nothing else uses: of two that start at once one creates


def migrate(
    dsn: str, tenant: str, entities: Iterable[Entity], history_columns: str | None = None
) -> None:
    """Brings the state schema and the entities' tables up to this version. Drops nothing.

    `history_columns` are those of CW_HISTORY_COLUMNS, whose changes are kept beside the usual ones;
    None leaves what is chosen as it is. Raises ConfigError if one of them is unknown,
    WarehouseError if the warehouse cannot be reached, is newer, or refuses, WarehouseLocked if
    somebody keeps a table locked for minutes. Whoever reads the tables waits half a second at most,
    or for as long as it takes to fill a new column of the one table.
    """
    columns = parse_history_columns(history_columns)
    kept = history_columns is None
    entities = list(entities)

    def upgraded(attempt: Attempt) -> list[str]:
        with sqlalchemy_transaction(dsn) as connection, attempt.brief(driver(connection), _LOCK):
            create_schemas(driver(connection), "cw_sync", tenant)
            here = versions.version(connection)
            if fault := versions.fault(here):
                raise WarehouseError(fault)
            versions.upgrade(connection, here)
            outdated = create_tables(connection, tenant, entities)
            set_history_columns(connection, tenant, columns, and_before=kept)
            return outdated

    def widened(attempt: Attempt, table: str) -> None:
        with sqlalchemy_transaction(dsn) as connection, attempt.brief(driver(connection), _LOCK):
            widen(connection, tenant, entities, table)

    watching = partial(transaction, dsn)
    for table in patiently(upgraded, watching, "the migration"):
        # Each in a transaction of its own: none stays locked while another is filled.
        what = f"the migration of {tenant}.{table}"
        patiently(partial(widened, table=table), watching, what)


def version_fault(dsn: str) -> str | None:
    """What is wrong with the warehouse's version, or None. Changes nothing."""
    with sqlalchemy_transaction(dsn) as connection:
        return versions.fault(versions.version(connection))
