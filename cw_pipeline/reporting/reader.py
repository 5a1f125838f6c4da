"""The role for BI tools, which sees the reporting schema and nothing else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting.database import transaction
from cw_pipeline.reporting.script import reporting_schema

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

READER = "reporting_reader"


def grant_reader(dsn: str, tenant: str) -> str:
    """Makes the role `reporting_reader`, if need be, and lets it read the tenant's views: its name.

    It may not log in itself: grant it to the users of the BI tools. Later views are granted too.
    Raises WarehouseError if the role is missing and may not be created.
    """
    schema = sql.Identifier(reporting_schema(tenant))
    role = sql.Identifier(READER)
    with transaction(dsn) as connection:
        found = connection.execute("select from pg_roles where rolname = %s", [READER]).fetchone()
        if found is None:
            try:
                connection.execute(sql.SQL("create role {} nologin").format(role))
            except errors.InsufficientPrivilege as error:
                raise WarehouseError(
                    f"this user may not create roles: let an administrator run `create role"
                    f" {READER} nologin`, then run `migrate --reader` again"
                ) from error
        for statement in (
            "grant usage on schema {schema} to {role}",
            "alter default privileges in schema {schema} grant select on tables to {role}",
        ):
            connection.execute(sql.SQL(statement).format(schema=schema, role=role))
        may_use = connection.execute(
            "select has_schema_privilege(%s, %s, 'usage')", [READER, reporting_schema(tenant)]
        ).fetchone()
        if may_use != (True,):  # who may not grant it is told so by a notice only
            raise WarehouseError(
                f"this user may not let others use the schema {reporting_schema(tenant)}: let its"
                f" owner run `grant usage on schema {schema.as_string(connection)} to {READER}`,"
                " then run `migrate --reader` again"
            )
        _grant_all(connection, tenant, role)
    return READER


def _grant_all(connection: Connection[Any], tenant: str, role: sql.Identifier) -> None:
    """Not `on all tables`: one that belongs to somebody else would be an error."""
    name = reporting_schema(tenant)
    found = connection.execute(
        "select relname, relowner::regrole::text,"
        " pg_has_role(relowner, 'usage') or has_table_privilege(oid, 'select with grant option'),"
        " has_table_privilege(%s, oid, 'select')"
        " from pg_class where relnamespace = to_regnamespace(%s) and relkind in ('r', 'v', 'm')"
        " order by relname",
        [READER, f'"{name}"'],
    ).fetchall()
    for relation, owner, may_grant, is_granted in found:
        if is_granted:
            continue
        own = sql.Identifier(name, relation)
        if may_grant:
            connection.execute(sql.SQL("grant select on {} to {}").format(own, role))
        else:
            log.warning(
                "%s.%s belongs to %s, who has to let %s read it: grant select on %s to %s",
                name, relation, owner, READER, own.as_string(connection), READER,
            )  # fmt: skip
