"""Publishing while others read the views, have granted them to people, and have built on them.

An older version of a view is made by hand here; publishing then brings it up to this one.
"""

# ruff: noqa: S608 - the SQL is made of names that stand here
from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cw_pipeline.errors import WarehouseError, WarehouseLocked
from cw_pipeline.reporting import READER, grant_reader, publish, refresh
from cw_pipeline.warehouse.ddl import Patience
from tests.conftest import _database as database
from tests.integration.conftest import ZONE
from tests.integration.others import as_admin, end_later, new_readers, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server

TICKETS = "reporting.fct_ticket"
DSO = "reporting.kpi_dso"
PIPELINE = "reporting.kpi_pipeline"
SURVEYS = "reporting.kpi_csat_month"  # a table
PRIVILEGES = """
select c.relname, c.relowner::regrole::text, c.reloptions,
    (select array_agg(g::text order by g::text) from aclexplode(c.relacl) g),
    (select array_agg(a.attname || a.attacl::text order by a.attnum) from pg_attribute a
     where a.attrelid = c.oid and a.attacl is not null)
from pg_class c where c.relnamespace = 'reporting'::regnamespace and c.relkind in ('r', 'v')
order by c.relname
"""


@pytest.fixture
def dsn(server: Server, owner: Owner, publication: str) -> Iterator[str]:
    """A warehouse with its reporting schema, and nothing in it."""
    with database(server, owner, publication) as url:
        yield url


def run(dsn: str, *statements: str) -> list[Any]:
    """As our own role; the last one's rows."""
    with psycopg.connect(dsn) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def older(dsn: str, view: str, columns: str) -> None:
    """Makes the view as an older version had it: these columns of what it shows now."""
    ((definition,),) = run(dsn, f"select pg_get_viewdef('{view}'::regclass)")
    query = definition.rstrip(";")
    run(
        dsn,
        f"drop view {view}",
        f"create view {view} as select {columns} from ({query}) q",
        outdated(view),
    )


def outdated(view: str) -> str:
    name = view.partition(".")[2]
    return f"update cw_sync.publication set digest = '' where name = '{name}'"


def columns(dsn: str, view: str) -> dict[str, str]:
    return dict(
        run(
            dsn,
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            f" where attrelid = '{view}'::regclass and attnum > 0 and not attisdropped"
            " order by attnum",
        )
    )


def test_new_readers_do_not_queue_while_publishing_waits_for_an_old_one(
    dsn: str, connection: psycopg.Connection
) -> None:
    with reading(dsn, TICKETS) as old, new_readers(dsn, TICKETS) as took:
        thread = end_later(old, 8)
        made = publish(dsn, "connectwise", "Asia/Tokyo")
        thread.join()
    assert "fct_ticket" in made
    assert len(took) > 50
    assert max(took) < 1.5, "half a second, and what a busy machine adds"
    zones = connection.execute("select distinct time_zone from cw_sync.publication").fetchall()
    assert zones == [("Asia/Tokyo",)]


def test_whoever_reads_for_good_ends_it_with_what_to_do_and_nothing_is_changed(dsn: str) -> None:
    with reading(dsn, TICKETS) as old:
        pid = old.info.backend_pid
        with pytest.raises(WarehouseLocked) as caught:
            publish(dsn, "connectwise", "Asia/Tokyo", Patience(give_up_after=3))
    said = str(caught.value)
    assert f"process {pid}" in said
    assert "application Power BI" in said
    assert "reporting." in said
    assert "run the command again" in said
    assert publish(dsn, "connectwise", ZONE) == []


def test_nobody_who_reads_is_in_the_way_when_nothing_changed(dsn: str) -> None:
    with reading(dsn, TICKETS):
        assert publish(dsn, "connectwise", ZONE, Patience(give_up_after=0)) == []


def granted(server: Server, dsn: str, people: tuple[str, ...]) -> list[Any]:
    """Gives others all sorts of privileges on our views and tables: what there is then."""
    one, two, three, stranger = (f'"{name}"' for name in people)
    as_admin(
        server,
        dsn,
        f"grant usage on schema reporting to {one}, {two}, {three}, {stranger}",
        f"grant select on {TICKETS}, {DSO}, {SURVEYS} to {one} with grant option",
        f"grant select (summary) on {TICKETS} to {stranger}",
        f"grant select (balance) on {DSO} to {stranger}",
        f"alter view {TICKETS} set (security_barrier = true)",
        f"alter view {DSO} set (security_barrier = true)",
        f"set role {one}",
        f"grant select on {TICKETS}, {DSO}, {SURVEYS} to {two}",
        "reset role",
        f"grant create on schema reporting to {three}",
        f"alter view reporting.kpi_ar_aging owner to {three}",
    )
    return as_admin(server, dsn, PRIVILEGES)


def test_privileges_that_others_granted_stay_when_everything_is_made_anew(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    before = granted(server, dsn, people)
    made = publish(dsn, "connectwise", "Asia/Tokyo")
    assert {"fct_ticket", "kpi_dso", "kpi_csat_month", "kpi_ar_aging"} <= set(made)
    assert as_admin(server, dsn, PRIVILEGES) == before


def test_privileges_stay_when_a_view_cannot_be_replaced_in_place(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    older(dsn, DSO, "currency_id, balance::text as balance, invoiced_90_days, dso_days")
    before = granted(server, dsn, people)
    publish(dsn, "connectwise", ZONE)
    assert columns(dsn, DSO)["balance"] == "numeric"
    assert as_admin(server, dsn, PRIVILEGES) == before


def built(server: Server, dsn: str, people: tuple[str, ...], query: str) -> None:
    """A view of somebody whose role we lack."""
    stranger = f'"{people[3]}"'
    as_admin(
        server,
        dsn,
        "create schema if not exists bi",
        f"grant usage, create on schema bi to {stranger}",
        f"grant usage on schema reporting to {stranger}",
        f"grant select on all tables in schema reporting to {stranger}",
        f"set role {stranger}",
        f"create view bi.theirs as {query}",
        "create materialized view bi.stored as select * from bi.theirs",
    )


def test_a_column_in_the_middle_does_not_disturb_a_view_of_a_stranger(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    older(dsn, DSO, "currency_id, dso_days, balance")
    built(server, dsn, people, f"select * from {DSO}")
    publish(dsn, "connectwise", ZONE)
    assert [*columns(dsn, DSO)] == ["currency_id", "dso_days", "balance", "invoiced_90_days"]
    assert as_admin(server, dsn, "refresh materialized view bi.stored", "table bi.stored") == []
    assert publish(dsn, "connectwise", ZONE) == []


def test_a_column_that_goes_stays_empty_while_others_views_read_it(
    server: Server, dsn: str, people: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    older(dsn, DSO, "currency_id, balance, invoiced_90_days, dso_days, 7 as lucky")
    run(dsn, f"alter table {SURVEYS} add lucky integer", outdated(SURVEYS))
    built(server, dsn, people, f"select d.lucky, s.lucky as s from {DSO} d, {SURVEYS} s")
    with caplog.at_level(logging.WARNING, "cw_pipeline.reporting"):
        publish(dsn, "connectwise", ZONE)
    assert columns(dsn, DSO)["lucky"] == columns(dsn, SURVEYS)["lucky"] == "integer"
    said = "\n".join(record.getMessage() for record in caplog.records)
    for view in (DSO, SURVEYS):
        assert f"{view}: this version has no column lucky any more" in said
    assert f'bi.theirs (of "{people[3]}")' in said
    for answers in (1, 2):
        run(
            dsn,
            "insert into connectwise.service_surveys_results (id, parent_id, total_points,"
            f" date_entered, _row_hash) values ({answers}, 1, 4, '2026-11-02', 0)",
        )
        refresh(dsn, "connectwise", ["kpi_csat_month"])
        assert run(dsn, f"select answers, lucky from {SURVEYS}") == [(answers, None)]
    as_admin(server, dsn, "drop materialized view bi.stored", "drop view bi.theirs")
    run(dsn, outdated(DSO), outdated(SURVEYS))
    publish(dsn, "connectwise", ZONE)
    assert "lucky" not in columns(dsn, DSO) | columns(dsn, SURVEYS)


def test_a_type_that_changes_takes_views_on_it_down_and_puts_them_back(dsn: str) -> None:
    ((pipeline,),) = run(dsn, f"select pg_get_viewdef('{PIPELINE}'::regclass)")
    older(dsn, DSO, "currency_id, balance::text as balance, invoiced_90_days, dso_days")
    run(
        dsn,
        f"alter table {SURVEYS} alter points type text",
        outdated(SURVEYS),
        # It was a table, with options that no view has.
        f"drop view {PIPELINE}",
        f"create table {PIPELINE} with (fillfactor = 70) as {pipeline.rstrip(';')}",
        outdated(PIPELINE),
        f"create view public.mine as select balance from {DSO}",
        "create materialized view public.stored as select balance from public.mine",
        "create index on public.stored (balance)",
        f"create view public.points as select points from {SURVEYS}",
    )
    publish(dsn, "connectwise", ZONE)
    assert columns(dsn, "public.mine") == columns(dsn, "public.stored") == {"balance": "numeric"}
    assert columns(dsn, "public.points") == {"points": columns(dsn, SURVEYS)["points"]}
    assert columns(dsn, SURVEYS)["points"] != "text"
    assert run(dsn, f"select relkind::text from pg_class where oid = '{PIPELINE}'::regclass") == [
        ("v",)
    ]


def test_a_view_of_a_stranger_that_would_have_to_go_is_named_and_nothing_is_changed(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    older(dsn, DSO, "currency_id, balance::text as balance, invoiced_90_days, dso_days")
    run(dsn, f"drop view {PIPELINE}", f"create table {PIPELINE} ()", outdated(PIPELINE))
    built(server, dsn, people, f"select * from {DSO}")
    with pytest.raises(WarehouseError) as caught:
        publish(dsn, "connectwise", ZONE)
    said = str(caught.value)
    assert f'bi.theirs (a view of "{people[3]}")' in said
    assert "columns of kpi_dso change their types" in said
    assert "kpi_pipeline becomes a view" in said
    assert f'grant "{people[3]}" to ' in said
    assert columns(dsn, DSO)["balance"] == "text"


def test_a_view_that_does_not_work_with_the_new_version_is_named(dsn: str) -> None:
    older(dsn, DSO, "currency_id, balance::text as balance, invoiced_90_days, dso_days")
    run(dsn, f"create view public.mine as select balance || '!' as b, length(balance) from {DSO}")
    with pytest.raises(WarehouseError, match=r"public\.mine .*does not work with the new version"):
        publish(dsn, "connectwise", ZONE)
    assert columns(dsn, DSO)["balance"] == "text"


def test_a_table_gains_columns_where_it_stands(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    wanted = columns(dsn, SURVEYS)
    run(dsn, f"alter table {SURVEYS} drop column points", outdated(SURVEYS))
    built(server, dsn, people, f"select month from {SURVEYS}")
    before = run(dsn, f"select '{SURVEYS}'::regclass::oid")
    publish(dsn, "connectwise", ZONE)
    assert columns(dsn, SURVEYS) == wanted
    assert run(dsn, f"select '{SURVEYS}'::regclass::oid") == before
    assert publish(dsn, "connectwise", ZONE) == []


def test_a_view_that_becomes_a_table_keeps_its_privileges_and_what_stands_on_it(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    run(
        dsn,
        f"alter table {SURVEYS} rename to was",
        f"create view {SURVEYS} as select * from reporting.was where false",
        outdated(SURVEYS),
        f"create view public.mine as select month from {SURVEYS}",
    )
    before = granted(server, dsn, people)
    publish(dsn, "connectwise", ZONE)
    assert run(dsn, f"select relkind::text from pg_class where oid = '{SURVEYS}'::regclass") == [
        ("r",)
    ]
    assert as_admin(server, dsn, PRIVILEGES) == before
    assert run(dsn, "table public.mine") == []


def test_what_this_version_no_longer_has_stays_while_others_read_it(
    server: Server, dsn: str, people: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    run(
        dsn,
        "create view reporting.kpi_old as select 1 as one",
        "create view reporting.kpi_older as select * from reporting.kpi_old",
        "insert into cw_sync.publication (tenant, name, digest, is_table, entities, tables)"
        " values ('connectwise', 'kpi_old', '', false, '{}', '{}'),"
        " ('connectwise', 'kpi_older', '', false, '{}', '{}')",
    )
    built(server, dsn, people, "select * from reporting.kpi_old")
    with caplog.at_level(logging.WARNING, "cw_pipeline.reporting"):
        publish(dsn, "connectwise", ZONE)
    said, dropped = [record.getMessage() for record in caplog.records]
    assert "reporting.kpi_old is no part of this version" in said
    assert f'bi.theirs (of "{people[3]}")' in said
    assert "reporting.kpi_older is dropped: there is no sql/reporting/kpi_older.sql" in dropped
    assert run(dsn, "select to_regclass('reporting.kpi_older')") == [(None,)]
    as_admin(server, dsn, "drop materialized view bi.stored", "drop view bi.theirs")
    publish(dsn, "connectwise", ZONE)
    assert run(dsn, "select to_regclass('reporting.kpi_old')") == [(None,)]
    assert run(dsn, "select from cw_sync.publication where name like 'kpi_old%'") == []


def test_a_view_of_ours_that_belongs_to_a_stranger_is_named_before_anything_changes(
    server: Server, dsn: str, people: tuple[str, ...]
) -> None:
    stranger = f'"{people[3]}"'
    as_admin(
        server,
        dsn,
        f"grant create on schema reporting to {stranger}",
        f"alter view {DSO} owner to {stranger}",
    )
    with pytest.raises(WarehouseError, match=rf"reporting.kpi_dso \({stranger}\).*owner to"):
        publish(dsn, "connectwise", "Asia/Tokyo")
    assert publish(dsn, "connectwise", ZONE) == []


def test_a_user_who_made_a_view_in_our_schema_keeps_it(dsn: str) -> None:
    run(dsn, f"create view reporting.my_own as select balance from {DSO}")
    publish(dsn, "connectwise", "Asia/Tokyo")
    assert run(dsn, "table reporting.my_own") == []


def test_letting_the_reader_read_takes_nothing_and_names_what_is_not_ours(
    server: Server, dsn: str, people: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    server.create_role(READER)
    try:
        stranger = f'"{people[3]}"'
        before = granted(server, dsn, people)
        as_admin(
            server,
            dsn,
            f"grant create on schema reporting to {stranger}",
            f"set role {stranger}",
            "create view reporting.theirs as select 1 as one",
        )
        with caplog.at_level(logging.WARNING, "cw_pipeline.reporting"):
            grant_reader(dsn, "connectwise")
        (said,) = [record.getMessage() for record in caplog.records]
        assert f"reporting.theirs belongs to {stranger}" in said
        after = {row[0]: row for row in as_admin(server, dsn, PRIVILEGES)}
        for name, *_, grants, _ in before:
            assert set(grants or ()) <= set(after[name][3]), name
        readable = as_admin(
            server, dsn, f"select has_table_privilege('{READER}', '{TICKETS}', 'select')"
        )
        assert readable == [(True,)]
    finally:
        as_admin(server, dsn, f"drop owned by {READER}")
        server.execute("drop role {}", READER)


def test_sql_of_the_users_that_does_not_work_is_named_by_its_file(dsn: str) -> None:
    from cw_pipeline.reporting.database import name_failing_file  # noqa: PLC0415

    with (
        pytest.raises(
            WarehouseError,
            match=r"kpi_x\.sql does not work: .*nowhere.* \(line 3: nowhere from",
        ),
        psycopg.connect(dsn) as connection,
        name_failing_file("kpi_x"),
    ):
        connection.execute(
            "create temp view kpi_x as\n-- Mine.\nselect 1,\n    nowhere from pg_class"
        )
