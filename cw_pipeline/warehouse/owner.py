"""Whose data a schema holds. Two tenants in one table could never be told apart again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from cw_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from psycopg import Connection


def mark_tenant(connection: Connection[Any], schema: str, tenant: str) -> None:
    """Notes which tenant a schema holds: `company@host`. In the caller's transaction.

    The schema's comment says it too, for people, where the role may write it. Raises ConfigError if
    the schema holds another tenant.
    """
    row = connection.execute(
        "select tenant from cw_sync.schema_owner where schema = %s", [schema]
    ).fetchone()
    if row is None:
        connection.execute(
            "insert into cw_sync.schema_owner (schema, tenant) values (%s, %s)", [schema, tenant]
        )
        comment = sql.SQL("comment on schema {} is {}").format(
            sql.Identifier(schema),
            sql.Literal(f"ConnectWise tenant {tenant}, kept by cw_pipeline"),
        )
        # The schema may be made by an administrator, and only its owner may comment on it.
        with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(comment)
    elif row[0] != tenant:
        raise ConfigError(
            f"the schema {schema} holds the ConnectWise tenant {row[0]}, and the settings name"  # noqa: S608 - it is told, not run
            f" {tenant}. Set CW_SCHEMA to another name, or CW_WAREHOUSE_DSN to another database. If"
            " it is the same tenant at a new address, run in the warehouse: delete from"
            f" cw_sync.schema_owner where schema = '{schema}'"
        )
