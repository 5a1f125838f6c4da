"""The embedded server's roles and databases.

Apart from `postgres`, because what this imports takes a tenth of a second: Dagster's processes,
which mostly find the server made and running, do without.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cw_pipeline.warehouse.connections import connect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection


def make_owner(admin_dsn: str, role: str, password: str, databases: Iterable[str]) -> None:
    """Makes the pipeline's role and its databases, those that are not there."""
    with connect(admin_dsn, autocommit=True) as connection:
        _make_role(connection, role, password)
        for name in databases:
            _make_database(connection, name, role)


def new_password(admin_dsn: str, role: str, group: str) -> str:
    """A new password for a login that reads what `group` may read, which is made if need be.

    It is stored nowhere but, hashed, in the server.
    """
    password = secrets.token_urlsafe(12)
    with connect(admin_dsn, autocommit=True) as connection:
        name = sql.Identifier(role)
        if not connection.execute("select from pg_roles where rolname = %s", [role]).rowcount:
            connection.execute(sql.SQL("create role {}").format(name))
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(group), name))
        hashed = _hash_password(connection, role, password)
        connection.execute(sql.SQL("alter role {} login password {}").format(name, hashed))
    return password


def _make_role(connection: Connection[Any], role: str, password: str) -> None:
    name = sql.Identifier(role)
    if connection.execute("select from pg_roles where rolname = %s", [role]).rowcount:
        connection.execute(sql.SQL("alter role {} createrole").format(name))
        return
    make = sql.SQL("create role {} login createrole password {}")
    connection.execute(make.format(name, _hash_password(connection, role, password)))


def _hash_password(connection: Connection[Any], role: str, password: str) -> sql.Literal:
    """Sent so, it never stands in the server's log."""
    how = b"scram-sha-256"
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), how)
    return sql.Literal(hashed.decode())


def _make_database(connection: Connection[Any], name: str, owner: str) -> None:
    if connection.execute("select from pg_database where datname = %s", [name]).rowcount:
        return
    make = sql.SQL("create database {} owner {}")
    connection.execute(make.format(sql.Identifier(name), sql.Identifier(owner)))
