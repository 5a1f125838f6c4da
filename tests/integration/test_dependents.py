"""What others built on our tables is as it was after a column has got another type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.errors import WarehouseError
from cw_pipeline.model import Kind
from cw_pipeline.warehouse.columns import widen_column
from cw_pipeline.warehouse.connections import transaction
from tests.integration.others import as_admin

if TYPE_CHECKING:
    from tests.conftest import Server

TABLE = ("connectwise", "service_boards")
STATE = """
select c.relname, c.relkind::text, c.relowner::regrole::text, pg_get_viewdef(c.oid), c.reloptions,
    (select array_agg(g::text order by g::text) from aclexplode(c.relacl) g),
    (select array_agg((a.attname, a.attacl, col_description(c.oid, a.attnum))::text
        order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
    obj_description(c.oid), c.relispopulated,
    (select array_agg(pg_get_indexdef(i.indexrelid)) from pg_index i where i.indrelid = c.oid),
    (select array_agg(pg_get_triggerdef(t.oid)) from pg_trigger t where t.tgrelid = c.oid)
from pg_class c where c.relnamespace = 'bi'::regnamespace and c.relkind in ('v', 'm')
order by c.relname
"""


def state(server: Server, dsn: str) -> list[Any]:
    return as_admin(server, dsn, STATE)


def build(server: Server, dsn: str, people: tuple[str, ...]) -> None:
    """A chain of four, each of somebody else, with all that can hang on a view."""
    one, two, three, stranger = (f'"{name}"' for name in people)
    as_admin(
        server,
        dsn,
        "create schema bi",
        f"grant usage, create on schema bi to {one}, {two}, {three}, {stranger}",
        f"grant usage on schema connectwise to {one}",
        f"grant select on connectwise.service_boards to {one}",
        f"set role {one}",
        'create view bi."First View" with (security_barrier=true) as select b.id, b.department_id,'
        " b.name from connectwise.service_boards b where b.id > 0 with local check option",
        f'grant select on bi."First View" to {two} with grant option',
        f'grant update (name), select (name) on bi."First View" to {stranger}',
        "comment on view bi.\"First View\" is 'it''s mine'",
        "comment on column bi.\"First View\".department_id is 'the department'",
        "alter view bi.\"First View\" alter column name set default 'x'",
        f"set role {two}",
        f'grant select on bi."First View" to {three}',
        'create view bi.second as select department_id as d, count(*) from bi."First View"'
        " group by 1",
        f"grant select on bi.second to {three}, public",
        f"revoke all on bi.second from {two}",
        f"grant select on bi.second to {two}",
        f"set role {three}",
        "create materialized view bi.third as select * from bi.second",
        "create unique index third_d on bi.third (d)",
        "create materialized view bi.fourth as select d from bi.third with no data",
        f"grant select on bi.fourth to {stranger}",
        "reset role",
    )


def test_owners_grants_comments_options_and_rows_of_others_views_come_back(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into connectwise.service_boards (id, department_id) values (1, 7), (2, 7)"
        )
    build(server, dsn, people)
    before = state(server, dsn)
    assert len(before) == 4
    with transaction(dsn) as connection:
        widen_column(connection, TABLE, "department_id", Kind.NUMERIC)
        where = connection.execute("select current_user = session_user").fetchone()
    assert where == (True,)
    assert state(server, dsn) == before
    as_admin(server, dsn, "do $$ begin assert (select d from bi.third) = 7; end $$")


def test_default_privileges_give_nothing_that_was_not_given_before(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    build(server, dsn, people)
    before = state(server, dsn)
    as_admin(
        server,
        dsn,
        f'alter default privileges for role "{people[0]}" in schema bi'
        f' grant all on tables to "{people[3]}"',
    )
    with transaction(dsn) as connection:
        widen_column(connection, TABLE, "department_id", Kind.NUMERIC)
    assert state(server, dsn) == before


def test_a_view_of_somebody_whose_role_we_lack_is_named_before_anything_is_touched(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    build(server, dsn, people)
    stranger = people[3]
    as_admin(
        server,
        dsn,
        f'grant select on bi.second to "{stranger}"',
        f'set role "{stranger}"',
        "create view bi.theirs as select * from bi.second",
    )
    before = state(server, dsn)
    with pytest.raises(WarehouseError) as caught, transaction(dsn) as connection:
        widen_column(connection, TABLE, "department_id", Kind.NUMERIC)
    said = str(caught.value)
    assert "connectwise.service_boards.department_id is bigint, and numeric is wanted" in said
    assert f'bi.theirs (a view of "{stranger}")' in said
    assert f'grant "{stranger}" to ' in said
    assert "bi.second" not in said
    assert state(server, dsn) == before


def test_an_owner_who_may_no_longer_create_in_the_schema_is_named(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    build(server, dsn, people)
    as_admin(server, dsn, f'revoke create on schema bi from "{people[1]}"')
    before = state(server, dsn)
    with (
        pytest.raises(
            WarehouseError, match=f'bi.second .*grant create on schema bi to "?{people[1]}'
        ),
        transaction(dsn) as connection,
    ):
        widen_column(connection, TABLE, "department_id", Kind.NUMERIC)
    assert state(server, dsn) == before
