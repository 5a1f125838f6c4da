"""Statements of this room."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.warehouse.connections import transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection

_LINE = re.compile(r"^LINE (\d+): (.*)$", re.MULTILINE)

__all__ = ("at_once", "name_failing_file", "options", "transaction")


def at_once(connection: Connection[Any], statements: Iterable[sql.Composable]) -> None:
    """Runs statements that ask nothing, in one round trip."""
    connection.execute(sql.SQL(";\n").join(statements))


def options(connection: Connection[Any], view: sql.Identifier) -> sql.Composable:
    """`with (security_barrier=true)`, as a view has it: `create or replace` would take it away."""
    row = connection.execute(
        "select array_to_string(reloptions, ', ') from pg_class where oid = to_regclass(%s)",
        [view.as_string(connection)],
    ).fetchone()
    # What Postgres itself stores as the view's options.
    return sql.SQL(f" with ({row[0]})" if row and row[0] else "")


@contextmanager
def name_failing_file(view: str) -> Iterator[None]:
    """Says which file's SQL the server refused, and where in it. Raises WarehouseError.

    A statement has one line of ours before the text of the file.
    """
    try:
        yield
    except (errors.UndefinedTable, errors.InsufficientPrivilege):
        raise  # of these it is known what to do
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        said = " ".join((error.diag.message_primary or str(error)).split())
        where = ""
        if found := _LINE.search(str(error)):
            where = f" (line {max(1, int(found[1]) - 1)}: {found[2].strip()})"
        raise WarehouseError(f"sql/reporting/{view}.sql does not work: {said}{where}") from error
