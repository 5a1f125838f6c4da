"""The reporting schema in a real warehouse: made once, changed in place, refreshed by changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting import READER, entities, fill_as_of, grant_reader, publish, refresh
from cw_pipeline.reporting.row_difference import CHANGED_AT
from cw_pipeline.reporting.script import scripts, tables_reading
from cw_pipeline.reporting.tables import refresh_published
from cw_pipeline.warehouse import Database, migrate
from cw_pipeline.warehouse.history import delete_keeping_versions
from tests.conftest import _database as database
from tests.integration.conftest import ZONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server

NOW = datetime.now(UTC).replace(microsecond=0)
KEPT = (
    "fct_ticket_all",
    "fct_time_entry_all",
    "fct_ticket_daily_all",
    "fct_member_day",
    "kpi_service_daily",
    "kpi_technician_month",
    "kpi_client_month",
    "kpi_data_readiness",
)


@pytest.fixture
def dsn(server: Server, owner: Owner, publication: str) -> Iterator[str]:
    """A warehouse with its reporting schema, and nothing in it."""
    with database(server, owner, publication) as url:
        yield url


@pytest.fixture
def published(dsn: str) -> str:
    """The same, called what it is."""
    return dsn


def add(
    connection: psycopg.Connection, table: str, at: datetime | None = None, **values: Any
) -> None:
    """Puts a row into an entity's table as a merge would: what was there was valid until `at`."""
    own = sql.Identifier("connectwise", table)
    entity = next(CATALOG[name] for name, one in CATALOG.declared.items() if one.table == table)
    delete_keeping_versions(connection, "connectwise", entity, {values["id"]: at}, None)
    columns = {"_row_hash": 0, **values}
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            own,
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(sql.Placeholder() * len(columns)),
        ),
        list(columns.values()),
    )


def ticket(connection: psycopg.Connection, own: int, **values: Any) -> None:
    entered = NOW - timedelta(days=3)
    given: dict[str, Any] = {"id": own, "board_id": 1, "record_type": "ServiceTicket"}
    stamps = {"closed_flag": False, "date_entered": entered, "last_updated": NOW}
    add(connection, "service_tickets", **{**given, **stamps, **values})


def entry(connection: psycopg.Connection, own: int, **values: Any) -> None:
    given: dict[str, Any] = {"id": own, "time_start": NOW, "member_id": 1, "actual_hours": 2}
    add(connection, "time_entries", **{**given, **values})


def everything(name: str) -> sql.Composed:
    """A query for all of a table or view."""
    return sql.SQL("select * from {}").format(sql.Identifier(*name.split(".")))


def content(dsn: str, name: str) -> list[Any]:
    """The rows of a table, without when they were written."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        rows = connection.execute(everything(f"reporting.{name}")).fetchall()
    return sorted(repr({**row, CHANGED_AT: None}) for row in rows)


def test_publishing_again_changes_nothing(published: str) -> None:
    assert publish(published, "connectwise", ZONE) == []


def test_every_column_of_every_view_is_described(published: str) -> None:
    with psycopg.connect(published) as connection:
        silent = connection.execute(
            "select c.relname, a.attname from pg_class c"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
            " where c.relnamespace = 'reporting'::regnamespace and c.relkind in ('r', 'v')"
            " and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)"
        ).fetchall()
    assert silent == []


def test_a_view_that_somebody_dropped_comes_back_with_what_stands_on_it(published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute("drop view reporting.fct_invoice cascade")
    made = publish(published, "connectwise", ZONE)
    assert {"fct_invoice", "fct_ar", "kpi_ar_aging"} <= set(made)
    assert "fct_ticket_all" not in made


def test_what_was_just_loaded_is_looked_at_before_it_is_read(
    published: str, connection: psycopg.Connection
) -> None:
    ticket(connection, 1)
    connection.execute("drop table reporting.fct_ticket_all cascade")
    connection.commit()
    assert "fct_ticket_daily_all" in publish(published, "connectwise", ZONE)
    dead = "select null_frac from pg_stats where tablename = %s and attname = %s"
    for known in (("service_tickets", "_deleted_at"), ("fct_ticket_all", "closed_at")):
        assert connection.execute(dead, known).fetchall() == [(1,)], known


def test_a_view_of_somebody_else_is_never_dropped(published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute("create view public.mine as select * from reporting.kpi_service_daily")
    assert "kpi_service_daily" in publish(published, "connectwise", "Asia/Tokyo")
    assert content(published, "kpi_service_daily") == []
    with psycopg.connect(published) as connection:
        connection.execute("select * from public.mine")


def test_what_this_version_no_longer_knows_goes(published: str) -> None:
    with psycopg.connect(published) as connection:
        connection.execute("create view reporting.fct_old as select 1 as one")
        connection.execute(
            "insert into cw_sync.publication (tenant, name, digest, is_table, entities, tables)"
            " values ('connectwise', 'fct_old', '', false, '{}', '{}')"
        )
    publish(published, "connectwise", ZONE)
    with psycopg.connect(published) as connection:
        assert connection.execute("select to_regclass('reporting.fct_old')").fetchone() == (None,)


def test_views_of_another_tenant_exist_whatever_is_synced_and_show_its_rows_alone(
    published: str, connection: psycopg.Connection
) -> None:
    migrate(published, "acme", {*select("service/boards"), *entities()})
    publish(published, "acme")
    ticket(connection, 1)
    add(connection, "service_boards", id=1, name="Help")
    connection.commit()
    for tenant in ("connectwise", "acme"):
        refresh(published, tenant)
    for script in scripts():
        connection.execute(everything(f"acme_reporting.{script.name}"))
    for name in ("fct_ticket_all", "dim_board"):
        ours = connection.execute(everything(f"reporting.{name}")).fetchall()
        theirs = connection.execute(everything(f"acme_reporting.{name}")).fetchall()
        assert len(ours) == len(theirs) + 1


def test_without_the_tables_it_says_what_to_do(empty_dsn: str) -> None:
    migrate(empty_dsn, "connectwise", select("service/boards"))
    with pytest.raises(WarehouseError, match="Run `migrate`"):
        publish(empty_dsn, "connectwise")


def test_a_refresh_by_changes_equals_one_from_nothing(
    published: str, connection: psycopg.Connection
) -> None:
    for own in range(1, 8):
        ticket(connection, own)
        entry(connection, own, ticket_id=own)
    entry(connection, 4, ticket_id=4, time_start=NOW - timedelta(days=5))
    ticket(connection, 7, closed_flag=True, closed_date=NOW - timedelta(days=2))
    add(connection, "system_members", id=1, identifier="a", daily_capacity=8, hourly_cost=30)
    add(connection, "system_members", id=2, identifier="b", daily_capacity=8, hourly_cost=30)
    add(connection, "system_members", id=3, identifier="c", daily_capacity=8, hourly_cost=30)
    entry(connection, 10, member_id=3, time_start=NOW - timedelta(days=40))
    connection.commit()
    refresh(published, "connectwise")
    closed = NOW - timedelta(days=1)
    ticket(connection, 1, closed_flag=True, closed_date=closed)
    ticket(connection, 2, merged_parent_ticket_id=1)
    ticket(connection, 8)
    ticket(connection, 3, board_id=2)
    # Moved from ticket, member and day; the reopened one had been closed two days ago.
    entry(connection, 4, ticket_id=5, member_id=2, time_start=NOW - timedelta(days=9))
    ticket(connection, 7)
    entry(connection, 9, ticket_id=1, billable_option="Billable")
    connection.execute(
        "update connectwise.time_entries set _deleted_at = now(), _synced_at = now() where id = 6"
    )
    add(connection, "system_members", id=3, identifier="c", daily_capacity=4, hourly_cost=50)
    connection.commit()
    # Over one connection, as a sync does it: what it has prepared must serve every table.
    with Database(published, "connectwise", max_connections=1) as shared:
        read = [one.name for one in entities()]
        done = refresh_published(shared.transaction, "connectwise", tables_reading(read))
    assert not any(each.whole for each in done)
    assert {each.name for each in done} >= set(KEPT)
    changed = {name: content(published, name) for name in KEPT}
    connection.execute("update cw_sync.publication set digest = ''")
    connection.commit()
    publish(published, "connectwise", ZONE)
    for name, rows in changed.items():
        assert rows, name
        assert rows == content(published, name), name


def test_a_member_who_costs_more_costs_more_in_every_profit(
    published: str, connection: psycopg.Connection
) -> None:
    def costs() -> list[Any]:
        asked = "select sum(labour_cost) from reporting."
        views = ("fct_member_day", "fct_agreement_month", "kpi_client_month", "fct_project")
        return [connection.execute(f"{asked}{view}".encode()).fetchone() for view in views]

    add(connection, "system_members", id=1, identifier="a", hourly_cost=30)
    add(connection, "company_companies", id=1, name="Acme")
    add(connection, "finance_agreements", id=1, company_id=1, start_date=NOW.date())
    add(connection, "project_projects", id=1, company_id=1)
    entry(connection, 1, company_id=1, agreement_id=1, project_id=1)
    connection.commit()
    refresh(published, "connectwise")
    assert costs() == [(60,)] * 4
    connection.commit()
    add(connection, "system_members", id=1, identifier="a", hourly_cost=50)
    connection.commit()
    refresh(published, "connectwise")
    assert costs() == [(100,)] * 4


def test_a_refresh_leaves_rows_alone_that_nothing_changed(
    published: str, connection: psycopg.Connection
) -> None:
    for own in range(1, 50):
        ticket(connection, own)
    connection.commit()
    refresh(published, "connectwise")
    ticket(connection, 7, closed_flag=True, closed_date=NOW)
    connection.commit()
    done = {each.name: each for each in refresh(published, "connectwise")}
    assert done["fct_ticket_all"].rows == 1
    assert done["fct_time_entry_all"].rows == 0


def test_only_rows_that_differ_are_written(published: str, connection: psycopg.Connection) -> None:
    """Also of tables that are computed whole: others' transactions and backups see no change."""
    watched = ("fct_agreement_month", "fct_mrr_month", "fct_member_day", "kpi_client_month")

    def places() -> dict[str, set[str]]:
        query = "select ctid::text || xmin::text from reporting."
        found = {
            name: {own for (own,) in connection.execute(f"{query}{name}".encode())}
            for name in watched
        }
        connection.commit()
        return found

    add(connection, "finance_billing_cycles", id=1, billing_options="Monthly")
    add(connection, "system_members", id=1, identifier="a", hourly_cost=30)
    for own in (1, 2):
        start = (NOW - timedelta(days=300)).date()
        add(connection, "company_companies", id=own, name="Acme")
        agreement = {"company_id": own, "billing_cycle_id": 1, "start_date": start}
        add(connection, "finance_agreements", id=own, bill_amount=10, **agreement)
    entry(connection, 1, company_id=1, agreement_id=1)
    connection.commit()
    refresh(published, "connectwise")
    before = places()
    assert all(before.values())
    entry(connection, 1, company_id=1, agreement_id=1, actual_hours=3)
    connection.commit()
    refresh(published, "connectwise")
    written = {name: len(now - before[name]) for name, now in places().items()}
    assert written == dict.fromkeys(watched, 1) | {"fct_mrr_month": 0}


def test_tables_that_nothing_changed_are_complete_as_far_as_what_they_read(
    published: str, connection: psycopg.Connection
) -> None:
    """Also one that reads another table, and one of which only another part was looked at."""
    names = ["fct_ticket_all", "fct_ticket_daily_all", "kpi_data_readiness"]

    def watermark(at: datetime) -> None:
        connection.execute(
            "insert into cw_sync.checkpoint (tenant, entity, watermark)"
            " select distinct tenant, unnest(entities), %(at)s::timestamptz"
            " from cw_sync.publication"
            " on conflict (tenant, entity) do update set watermark = excluded.watermark",
            {"at": at},
        )
        connection.commit()

    ticket(connection, 1)
    watermark(NOW - timedelta(hours=2))
    done = refresh(published, "connectwise", names)
    assert {each.complete_through for each in done} == {NOW - timedelta(hours=2)}
    watermark(NOW)
    done = refresh(published, "connectwise", names)
    assert {each.rows for each in done} == {0}
    assert {each.complete_through for each in done} == {NOW}
    stored = connection.execute(
        "select distinct complete_through, changed_through > %s from cw_sync.publication"
        " where name = any(%s)",
        [NOW, names],
    ).fetchall()
    assert stored == [(NOW, True)]


def test_a_merge_that_commits_after_a_refresh_is_in_the_next_one(published: str) -> None:
    """Its rows are stamped with the time its transaction began, which is before the refresh."""
    name = "cw_pipeline test"
    with psycopg.connect(published, application_name=name) as slow:
        ticket(slow, 1)
        refresh(published, "connectwise")
        assert content(published, "fct_ticket_all") == []
    refresh(published, "connectwise")
    assert len(content(published, "fct_ticket_all")) == 1


@pytest.mark.usefixtures("published")
def test_receivables_of_a_past_month_are_as_they_were_then(connection: psycopg.Connection) -> None:
    connection.execute(
        "update cw_sync.history_column set since = now() - interval '70 days'"
        " where entity = 'finance/invoices'"
    )
    old = (NOW - timedelta(days=200)).date()
    given = {"date": old, "due_date": old, "type": "Standard", "total": 100}
    invoice = partial(add, connection, "finance_invoices")
    invoice(id=1, balance=100, **given)  # paid in two parts
    invoice(id=1, balance=40, at=NOW - timedelta(days=45), **given)
    invoice(id=1, balance=0, at=NOW - timedelta(days=1), **given)
    add(connection, "finance_invoices", id=2, balance=70, **given)  # nobody paid
    add(connection, "finance_invoices", id=3, balance=-5, **{**given, "type": "CreditMemo"})
    today = NOW.astimezone(ZoneInfo(ZONE)).date()
    add(connection, "finance_invoices", id=4, balance=9, **{**given, "date": today})
    connection.commit()
    ends = [today]
    while (NOW.date() - ends[-1]).days < 70:
        ends.append(ends[-1].replace(day=1) - timedelta(days=1))
    true = set()
    for end in ends[:-1] if (NOW.date() - ends[-1]).days > 101 else ends:
        if end.replace(day=1) < (NOW - timedelta(days=70)).date().replace(day=1):
            continue
        days = (today - end).days
        paid = 0 if days == 0 else 40 if days < 45 else 100
        true |= {(1, end.replace(day=1), paid)} if paid else set()
        true |= {(2, end.replace(day=1), 70), (3, end.replace(day=1), -5)}
    true.add((4, today.replace(day=1), 9))
    found = connection.execute("select invoice_id, month, balance from reporting.fct_ar_month")
    assert set(found) == true


def test_refreshing_a_view_refreshes_what_it_stands_on_and_no_more(published: str) -> None:
    done = [each.name for each in refresh(published, "connectwise", ["kpi_backlog_daily"])]
    assert done == ["fct_ticket_all", "fct_ticket_daily_all"]


def test_a_table_is_no_further_than_the_tables_it_reads(
    published: str, connection: psycopg.Connection
) -> None:
    ticket(connection, 1)
    connection.commit()
    connection.execute(
        "update cw_sync.publication set changed_through = now() - interval '1 hour'"
        " where name = 'fct_ticket_all'"
    )
    connection.commit()
    refresh(published, "connectwise")
    marks = connection.execute(
        "select min(changed_through) filter (where name = 'fct_ticket_daily_all')"
        " <= min(changed_through) filter (where name = 'fct_ticket_all') from cw_sync.publication"
    ).fetchone()
    assert marks == (True,)


def test_the_reader_sees_the_reports_and_nothing_else(
    published: str, server: Server, connection: psycopg.Connection
) -> None:
    known = "select from pg_roles where rolname = %s"
    found = connection.execute(known, [READER]).rowcount  # of a warehouse on the same server
    if not found:
        # The tests' owner may not create roles, as in many a production.
        with pytest.raises(WarehouseError, match=f"create role {READER} nologin"):
            grant_reader(published, "connectwise")
        server.create_role(READER)
    server.execute("grant {} to {}", READER, connection.info.user)
    try:
        grant_reader(published, "connectwise")
        grant_reader(published, "connectwise")
        publish(published, "connectwise", "Asia/Tokyo")
        fill_as_of(published, "connectwise", NOW)
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(READER)))
        for script in scripts():
            connection.execute(everything(f"reporting.{script.name}"))
            connection.execute(everything(f"reporting_asof.{script.name}"))
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("select reporting.as_of(now())")
        for table in ("connectwise.service_tickets", "cw_sync.checkpoint"):
            connection.commit()
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(READER)))
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(everything(table))
            connection.rollback()
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(
                sql.SQL("set role {}; delete from reporting.fct_ticket_all").format(
                    sql.Identifier(READER)
                )
            )
    finally:
        connection.rollback()
        connection.execute("reset role")
        if not found:
            connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(READER)))
            connection.commit()
            server.execute("drop role {}", READER)


def test_a_fiscal_year_is_named_for_the_year_it_ends_in(published: str) -> None:
    made = publish(published, "connectwise", ZONE, fiscal_year_start=7)
    assert "dim_date" in made
    assert "fct_ticket_all" not in made, "only what shows fiscal years is made anew"
    with psycopg.connect(published) as connection:
        rows = connection.execute(
            "select date, fiscal_year, fiscal_quarter, fiscal_month, fiscal_year_label,"
            " fiscal_quarter_label, month_label, month_key, week_label from reporting.dim_date"
            " where date in ('2026-06-30', '2026-07-01', '2027-01-01') order by date"
        ).fetchall()
        unknown = connection.execute(
            "select fiscal_year, fiscal_quarter_label from reporting.dim_date where date_id = -1"
        ).fetchone()
        broken = connection.execute(
            "select count(*) from (select fiscal_year_label, count(distinct date_trunc('month',"
            " date)) as months, min(fiscal_month) as first, max(fiscal_month) as last from"
            " reporting.dim_date where year between 2000 and 2040 group by 1) y"
            " where (months, first, last) <> (12, 1, 12) and fiscal_year_label not in ('FY2000',"
            " 'FY2041')"
        ).fetchone()
    assert [row[1:] for row in rows] == [
        (2026, 4, 12, "FY2026", "FY2026 Q4", "Jun 2026", 202606, "2026 W27"),
        (2027, 1, 1, "FY2027", "FY2027 Q1", "Jul 2026", 202607, "2026 W27"),
        (2027, 3, 7, "FY2027", "FY2027 Q3", "Jan 2027", 202701, "2026 W53"),
    ]
    assert unknown == (None, "None")
    assert broken == (0,)
