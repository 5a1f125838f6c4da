"""Connections of this room: one transaction, errors named after what to do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection


@contextmanager
def transaction(dsn: str) -> Iterator[Connection[Any]]:
    """A connection inside a transaction. Database errors come out as WarehouseError."""
    try:
        with psycopg.connect(
            dsn, application_name="cw_pipeline publish", options="-c timezone=UTC"
        ) as connection:
            yield connection
    except errors.DependentObjectsStillExist as error:
        raise WarehouseError(
            f"a view of your own stands in the way of a new version: {_said(error)}. Drop it, run"
            " `migrate`, create it again; keep it in a schema of your own"
        ) from error
    except errors.UndefinedTable as error:
        raise WarehouseError(
            f"reporting reads a table that is not there: {_said(error)}. Run `migrate`"
        ) from error
    except psycopg.Error as error:
        raise WarehouseError(f"the warehouse failed: {_said(error)}") from error


def at_once(connection: Connection[Any], statements: Iterable[sql.Composable]) -> None:
    """Runs statements that ask nothing, in one round trip."""
    connection.execute(sql.SQL(";\n").join(statements))


def _said(error: psycopg.Error) -> str:
    parts = (error.diag.message_primary or str(error), error.diag.message_detail or "")
    return " ".join(" ".join(parts).split())
