"""Creates and upgrades the schemas: versioned SQL for the state, the catalog for the tables."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from cw_pipeline.errors import ConfigError, WarehouseError
from cw_pipeline.load import versions
from cw_pipeline.load.history import track, tracked
from cw_pipeline.load.tables import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

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
    with _connected(dsn) as connection:
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
    with _connected(dsn) as connection:
        return versions.fault(versions.version(connection))


@contextmanager
def _connected(dsn: str) -> Iterator[Connection]:
    url = _url(dsn)
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    try:
        with engine.begin() as connection:
            yield connection
    except OperationalError as error:
        raise WarehouseError(
            f"the warehouse cannot be reached ({_said(error)}): check CW_WAREHOUSE_DSN, and that"
            " the server runs and lets this machine in"
        ) from error
    except DBAPIError as error:
        raise WarehouseError(f"the warehouse refused: {_said(error)}") from error


def _url(dsn: str) -> URL:
    try:
        return make_url(dsn).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        # Without `from None` the trace would print the address, and its password with it.
        raise ConfigError(
            "CW_WAREHOUSE_DSN is no address of a database: postgresql://user:password@host:5432/name"
        ) from None


def _said(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
