"""Statements of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.database import transaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

__all__ = ("at_once", "transaction")


def at_once(connection: Connection[Any], statements: Iterable[sql.Composable]) -> None:
    """Runs statements that ask nothing, in one round trip."""
    connection.execute(sql.SQL(";\n").join(statements))
