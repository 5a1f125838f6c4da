"""What the documents tell an administrator to run is enough, and no more than is needed."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import psycopg
import pytest

from cw_pipeline.catalog import select
from cw_pipeline.dev import EmbeddedPostgres
from cw_pipeline.paths import ROOT
from cw_pipeline.reporting import entities, publish
from cw_pipeline.reporting.script import ReportingSchema, ViewScript
from cw_pipeline.warehouse import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDED = {*select("service/boards"), *entities()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(tmp_path_factory.mktemp("recipes") / "postgres", durable=False)
    try:
        made.ensure()
        yield made
    finally:
        made.stop()


def statements(first: str, role: str, database: str) -> list[str]:
    """The statements of the block in sql/README.md that begins so, for this role and database."""
    text = (ROOT / "sql" / "README.md").read_text("utf-8")
    blocks = map(textwrap.dedent, re.findall(r" *```sql\n(.*?)```", text, re.DOTALL))
    (block,) = (block for block in blocks if block.startswith(first))
    block = re.sub(r" +--.*", "", block).replace("'...'", "'recipe'")
    block = block.replace("cw_pipeline", role).replace("database warehouse", f"database {database}")
    return [statement.strip() for statement in block.split(";") if statement.strip()]


def run(dsn: str, queries: list[str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for query in queries:
            connection.execute(query.encode())


def address(server: EmbeddedPostgres, role: str, password: str, database: str) -> str:
    own = psycopg.conninfo.conninfo_to_dict(server.dsn())
    own |= {"user": role, "password": password, "dbname": database}
    return psycopg.conninfo.make_conninfo(**own)


@pytest.mark.timeout(300)
def test_the_role_and_the_database_of_the_documents_can_be_synced_into_and_published(
    server: EmbeddedPostgres,
) -> None:
    run(server.admin_dsn(), statements("create role", "cw_first", "first"))
    dsn = address(server, "cw_first", "recipe", "first")
    migrate(dsn, "connectwise", NEEDED)
    assert "kpi_service_daily" in publish(dsn, "connectwise")
    with psycopg.connect(dsn) as connection:
        shown = ViewScript("kpi_shown", example()).query_for(ReportingSchema("connectwise"))
        assert [c.name for c in connection.execute(shown.encode()).description or ()] == [
            "board_id",
            "tickets",
        ]
        # It fills the tables a second time, and one of them is large enough.
        table = "reporting.fct_ticket_daily_all"
        row = "current_date, n, n, 'ServiceTicket', 1, 1, 1, 1, 1, n, now()"
        fill = f"insert into {table} select {row} from generate_series(1, 150000) n"  # noqa: S608
        for statement in (fill, f"delete from {table}", fill, f"analyze {table}"):  # noqa: S608
            connection.execute(statement.encode())
        (asked,) = statements("select format", "", "")
        assert connection.execute(asked.encode()).fetchall() == [(f"vacuum full {table}",)]


def example() -> str:
    """The view that CONTRIBUTING shows."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text("utf-8")
    (block,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    return textwrap.dedent(block)


@pytest.mark.timeout(300)
def test_a_role_without_create_does_with_the_schemas_that_were_made_for_it(
    server: EmbeddedPostgres,
) -> None:
    first, second, third = statements("create role", "cw_second", "second")
    run(server.admin_dsn(), [first, second, third.replace(", create on", " on")])
    admin = psycopg.conninfo.make_conninfo(server.admin_dsn(), dbname="second")
    run(admin, statements("create schema", "cw_second", "second"))
    dsn = address(server, "cw_second", "recipe", "second")
    with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("create schema another")
    migrate(dsn, "connectwise", NEEDED)
    assert "kpi_service_daily" in publish(dsn, "connectwise")
