"""The role for BI tools, which sees the reporting schema and nothing else."""

from __future__ import annotations

from psycopg import errors, sql

from cw_pipeline.errors import WarehouseError
from cw_pipeline.publish.database import transaction
from cw_pipeline.publish.script import reporting_schema

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
            "grant select on all tables in schema {schema} to {role}",
            "alter default privileges in schema {schema} grant select on tables to {role}",
        ):
            connection.execute(sql.SQL(statement).format(schema=schema, role=role))
    return READER
