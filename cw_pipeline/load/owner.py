"""Whose data a schema holds. Two tenants in one table could never be told apart again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from cw_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from psycopg import Connection

_TOLD = re.compile(r"ConnectWise tenant (\S+)")


def claim(connection: Connection[Any], schema: str, tenant: str) -> None:
    """Notes in the schema's comment which tenant it holds: `company@host`.

    Raises ConfigError if it holds another one.
    """
    held = _holder(connection, schema)
    if held is None:
        told = f"ConnectWise tenant {tenant}, kept by cw_pipeline"
        comment = sql.SQL("comment on schema {} is {}")
        try:
            connection.execute(comment.format(sql.Identifier(schema), sql.Literal(told)))
        except psycopg.errors.InsufficientPrivilege:
            return  # the schema was made by somebody else, who may say whose it is
    elif held != tenant:
        raise ConfigError(
            f"the schema {schema} holds the ConnectWise tenant {held}, and the settings name"
            f" {tenant}. Set CW_SCHEMA to another name, or CW_WAREHOUSE_DSN to another database. If"
            f" it is the same tenant at a new address, run in the warehouse: comment on schema"
            f" {schema} is null"
        )


def _holder(connection: Connection[Any], schema: str) -> str | None:
    row = connection.execute(
        "select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = %s",
        [schema],
    ).fetchone()
    found = _TOLD.match(row[0]) if row and row[0] else None
    return found[1].rstrip(",") if found else None
