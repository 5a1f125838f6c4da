"""sql/README.md's statements remove all of it from a warehouse, or one of its tenants, no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.catalog import select
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.paths import ROOT
from cw_pipeline.reporting import entities, grant_reader, publish
from cw_pipeline.warehouse import Database, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMAS = """
select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
"""
TENANTS = """
select table_name from information_schema.columns
where table_schema = 'cw_sync' and column_name = 'tenant'
"""
ROWS = "select tenant from cw_sync.{table} where tenant = '{tenant}'"


def statements(first: str) -> str:
    """The block of SQL in sql/README.md that begins so."""
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "sql/README.md").read_text("utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if block.startswith(first))
    return str(found)


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[str]:
    """A server's only warehouse, with two tenants that were published: roles are the server's."""
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    try:
        server.ensure()
        with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
            connection.execute("alter role cw_pipeline createrole")
        for tenant in ("connectwise", "acme"):
            migrate(server.dsn(), tenant, {*select("service/boards"), *entities()})
            publish(server.dsn(), tenant)
            with Database(server.dsn(), tenant), psycopg.connect(server.dsn()) as connection:
                connection.execute(
                    "insert into cw_sync.run (run_id, tenant, entity, kind, started_at, status)"
                    " values (nextval('cw_sync.next_run_id'), %s, 'service/boards', 'refresh',"
                    " now(), 'done')",
                    [tenant],
                )
        yield server.dsn()
    finally:
        server.stop()


def found(dsn: str, query: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute(query.encode())}


def holders(dsn: str, tenant: str) -> set[str]:
    """The tables of the state that know this tenant."""
    return {
        table
        for table in found(dsn, TENANTS)
        if found(dsn, ROWS.format(table=table, tenant=tenant))
    }


@pytest.mark.timeout(300)  # two tenants' tables and views are made
def test_a_tenant_is_removed_beside_another_and_then_all_of_it(warehouse: str) -> None:
    grant_reader(warehouse, "connectwise")
    before = holders(warehouse, "connectwise")
    assert "run" in holders(warehouse, "acme")

    with psycopg.connect(warehouse, autocommit=True) as connection:
        connection.execute(statements("drop schema acme").encode())
    assert found(warehouse, SCHEMAS) == {
        "connectwise",
        "reporting",
        "cw_sync",
        "public",
    }
    assert holders(warehouse, "acme") == set()
    assert holders(warehouse, "connectwise") == before
    migrate(warehouse, "acme", select("service/boards"))  # and it may come back
    with psycopg.connect(warehouse, autocommit=True) as connection:
        connection.execute("drop schema acme cascade")

    with psycopg.connect(warehouse, autocommit=True) as connection:
        connection.execute(statements("drop schema connectwise").encode())
    assert found(warehouse, SCHEMAS) == {"public"}
    assert found(warehouse, "select rolname from pg_roles where rolname ~ 'reporting'") == set()
