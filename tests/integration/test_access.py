"""A client's role sees the client's rows, and nothing else, however it asks."""

# ruff: noqa: S608 - whose names are the tests' own

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting import READER, Sight, grant_client, publish, refresh
from cw_pipeline.reporting.access import ClientSchema, client_scripts, listed_views
from cw_pipeline.reporting.script import scripts
from tests.integration.conftest import ZONE
from tests.integration.others import as_admin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Server
    from tests.integration.conftest import Clients

ACME, BOLT = 42, 43
NOW = datetime.now(UTC).replace(microsecond=0)
FACTS = [name for name, listed in listed_views().items() if listed.rows == "client"]
SOME = ("fct_ticket", "dim_contact", "kpi_ar_aging")
TICKETS = "client_reporting.fct_ticket"


def add(connection: psycopg.Connection, table: str, **values: Any) -> None:
    own = sql.Identifier("connectwise", table)
    columns = {"_row_hash": 0, **values}
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            own,
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(sql.Placeholder() * len(columns)),
        ),
        list(columns.values()),
    )


def add_client(connection: psycopg.Connection, own: int, location: int) -> None:
    """A client with a row of everything."""
    day = (NOW - timedelta(days=3)).date()
    mine = {"id": own, "company_id": own}
    given = {"location_id": location, "department_id": location}
    add(connection, "company_companies", id=own, name=f"Client {own}", currency_id=1)
    add(connection, "company_companies_sites", id=own, parent_id=own, company_id=own, name="HQ")
    add(connection, "company_contacts", **mine, first_name="Ann")
    add(
        connection,
        "company_configurations",
        **mine,
        name="Laptop",
        active_flag=True,
        warranty_expiration_date=NOW + timedelta(days=9),
    )
    add(connection, "project_projects", **mine, name="Move")
    add(connection, "finance_agreements", **mine, name="All in", start_date=day)
    add(connection, "finance_agreements_additions", id=own, parent_id=own, quantity=2)
    add(
        connection,
        "finance_invoices",
        **mine,
        **given,
        date=day,
        total=own,
        balance=own,
        currency_id=1,
    )
    add(connection, "expense_entries", **mine, date=day, amount=5)
    add(connection, "procurement_products", **mine, quantity=1)
    add(
        connection, "service_surveys_results", **mine, parent_id=1, total_points=4, date_entered=NOW
    )
    add(
        connection,
        "time_entries",
        **mine,
        location_ref_id=location,
        time_start=NOW,
        member_id=1,
        actual_hours=2,
        ticket_id=own,
    )
    add(
        connection,
        "service_tickets",
        **mine,
        **given,
        record_type="ServiceTicket",
        summary=f"secret of {own}",
        closed_flag=False,
        date_entered=NOW - timedelta(days=3),
        last_updated=NOW,
    )


@pytest.fixture(scope="module", autouse=True)
def _rows(clients: Clients) -> None:
    with psycopg.connect(clients.dsn) as connection:
        add(connection, "system_members", id=1, identifier="mia", hourly_cost=30)
        for own in (1, 2):
            add(connection, "system_locations", id=own, name=f"Location {own}")
            add(connection, "system_departments", id=own, name=f"Department {own}")
        add_client(connection, ACME, 1)
        add_client(connection, BOLT, 2)
    refresh(clients.dsn, "connectwise")
    for role, sight in {
        "acme": Sight(companies=(ACME,)),
        "bolt": Sight(companies=(BOLT,)),
        "branch": Sight(locations=(2,)),
        "server": Sight(by_setting=True),
    }.items():
        grant_client(clients.dsn, "connectwise", clients.roles[role], sight)


def ask(url: str, *statements: str) -> list[Any]:
    """As that login, in one session: the last one's rows."""
    with psycopg.connect(url) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def clients_seen(url: str, *before: str, names: Sequence[str] = FACTS) -> dict[str, set[Any]]:
    """Whose rows there are in each view, the unknown member's aside."""
    each = [
        f"select '{name}', array(select distinct company_id from client_reporting.{name}"
        " where company_id <> -1)"
        for name in names
    ]
    return {name: {*own} for name, own in ask(url, *before, " union all ".join(each))}


def in_each(*own: int, names: Sequence[str] = FACTS) -> dict[str, set[Any]]:
    """The same clients in each view."""
    return {name: {*own} for name in names}


def test_a_client_sees_its_own_rows_in_every_view(clients: Clients) -> None:
    assert clients_seen(clients.urls["acme"]) == in_each(ACME)
    assert clients_seen(clients.urls["bolt"]) == in_each(BOLT)


def test_a_client_has_the_rows_that_we_count_for_it_in_three_tools_ways(
    clients: Clients, server: Server
) -> None:
    """A login (Power BI, Excel), set role (Metabase), cw.company (Superset); -s shows counts."""
    bolt, pool = clients.roles["bolt"], clients.roles["pool"]
    server.execute("grant {} to {}", bolt, pool)

    def counted(url: str, schema: str, where: str = "", *before: str) -> dict[str, int]:
        each = (f"select '{name}', count(*) from {schema}.{name} {where}" for name in FACTS)
        return dict(ask(url, *before, " union all ".join(each)))

    listed = "where company_id <> -1"  # of dimensions without the unknown member
    everybody = counted(clients.dsn, "reporting", listed)
    ours = counted(clients.dsn, "reporting", f"where company_id = {BOLT}")
    given = {"bolt": "select", "pool": f"set role {bolt}", "server": f"set cw.company = '{BOLT}'"}
    ways = {
        name: counted(clients.urls[name], "client_reporting", listed, before)
        for name, before in given.items()
    }
    print(f"\n{'view':<24}{'all':>6}{'client':>8}", *(f"{way:>12}" for way in ways))  # noqa: T201
    for name in FACTS:
        shown = (f"{way[name]:>12}" for way in ways.values())
        print(f"{name:<24}{everybody[name]:>6}{ours[name]:>8}", *shown)  # noqa: T201
    assert all(way == ours for way in ways.values())
    assert min(ours.values()) > 0
    assert all(everybody[name] > ours[name] for name in FACTS)


def test_names_that_all_clients_share_are_there_and_an_inner_join_loses_nothing(
    clients: Clients,
) -> None:
    joined = (
        f"select t.ticket_id from {TICKETS} t"
        " join client_reporting.dim_company using (company_id)"
        " join client_reporting.dim_contact using (contact_id)"
        " join client_reporting.dim_priority using (priority_id)"
        " join client_reporting.dim_date on date_id = entered_date_id"
    )
    assert ask(clients.urls["acme"], joined) == [(ACME,)]


REFUSED = [
    "select * from reporting.fct_ticket",
    "select * from reporting.fct_ticket_all",
    "select * from reporting.access",
    "select * from connectwise.service_tickets",
    "select * from cw_sync.history",
    "select reporting.fct_ticket from reporting.fct_ticket",
    "select reporting.as_of(now())",
    "select query_to_xml('select * from reporting.fct_ticket', true, true, '')",
    "select table_to_xml('reporting.fct_ticket', true, true, '')",
    "select pg_ls_dir('.')",
    "select lo_import('/etc/passwd')",
    "explain select * from reporting.fct_ticket",
    "lock table reporting.fct_ticket_all",
    "create statistics s on company_id, ticket_id from reporting.fct_ticket_all",
    "set role {bolt}",
    "set role {owner}",
    "set session authorization {bolt}",
    "insert into reporting.access values ({acme!r}, 43)",
    "update reporting.access set company_id = 43",
    "update client_reporting.dim_currency set currency_name = 'x'",
    "delete from client_reporting.fct_survey",
    "create table client_reporting.mine (id int)",
    "create or replace view client_reporting.fct_ticket as select 1 as ticket_id",
    "alter view client_reporting.fct_ticket set (security_barrier = false)",
    "drop view client_reporting.fct_ticket",
    "copy reporting.fct_ticket_all to stdout",
    "copy client_reporting.fct_ticket to program 'cat'",
    "select pg_read_file('postgresql.conf')",
    "alter role {acme} bypassrls",
    "create rule r as on update to client_reporting.fct_ticket do instead nothing",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_what_a_client_may_not_do_is_refused(clients: Clients, statement: str) -> None:
    names = {**clients.roles, "owner": conninfo_to_dict(clients.dsn)["user"]}
    with pytest.raises(
        (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState, errors.WrongObjectType)
    ):
        ask(clients.urls["acme"], statement.format(**names))
    assert ask(clients.urls["acme"], f"select ticket_id from {TICKETS}") == [(ACME,)]


def test_a_function_of_the_clients_own_is_shown_its_own_rows_only(clients: Clients) -> None:
    told: list[str] = []
    with psycopg.connect(clients.urls["acme"]) as connection:
        connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        connection.execute(
            "create function pg_temp.peek(text) returns boolean language plpgsql cost 0.000001 as"
            " $$ begin raise notice '%', $1; return true; end $$"
        )
        for name in FACTS:
            asked = f"select from client_reporting.{name} where pg_temp.peek(company_id::text)"
            connection.execute(asked.encode())
        asked = f"select from {TICKETS} t join {TICKETS} u on pg_temp.peek(t.summary || u.summary)"
        connection.execute(asked.encode())
        # Nobody may learn by an error that there is such a row.
        asked = f"select from {TICKETS} where 1 / (company_id - {BOLT}) > 7"
        connection.execute(asked.encode())
    assert {*told} == {str(ACME), "-1", f"secret of {ACME}secret of {ACME}"}


@pytest.mark.parametrize(
    "setting",
    [
        "set cw.company = '43'",
        "set row_security = off",
        "set search_path = reporting, connectwise",
        "select set_config('role', 'none', false)",
        "set session_replication_role = replica",
    ],
)
def test_no_setting_shows_a_client_more(clients: Clients, setting: str) -> None:
    with psycopg.connect(clients.urls["acme"], autocommit=True) as connection:
        with suppress(errors.InsufficientPrivilege):
            connection.execute(setting.encode())
        rows = connection.execute(f"select company_id from {TICKETS}".encode()).fetchall()
    assert rows == [(ACME,)]


def test_statistics_of_other_clients_rows_are_not_to_be_read(clients: Clients) -> None:
    known = "select count(*) from pg_stats where schemaname in ('reporting', 'connectwise')"
    assert ask(clients.urls["acme"], known) == [(0,)]


def test_no_column_of_cost_margin_or_other_peoples_names_is_there(clients: Clients) -> None:
    columns = ask(
        clients.urls["acme"],
        "select table_name || '.' || column_name from information_schema.columns"
        " where table_schema = 'client_reporting'",
    )
    assert len(columns) > 200
    words = ("cost", "margin", "profit", "rate", "member", "owner", "closed_by", "manager")
    found = [name for (name,) in columns if any(word in name.split(".")[1] for word in words)]
    assert found == ["kpi_csat_month.response_rate"]


def test_a_server_that_sets_cw_company_sees_that_client_and_no_row_without_it(
    clients: Clients,
) -> None:
    url = clients.urls["server"]
    assert clients_seen(url, f"set cw.company = '{BOLT}'") == in_each(BOLT)
    both = clients_seen(url, f"set cw.company = '{ACME},{BOLT}'", names=SOME)
    assert both == in_each(ACME, BOLT, names=SOME)
    with psycopg.connect(url, options=f"-c cw.company={BOLT}") as connection:  # Superset's way
        rows = connection.execute(f"select company_id from {TICKETS}".encode()).fetchall()
    assert rows == [(BOLT,)]
    for nothing in ((), ("set cw.company = ''",), ("set cw.company = '-1'",)):
        assert clients_seen(url, *nothing, names=SOME) == in_each(names=SOME)
    with pytest.raises(errors.InvalidTextRepresentation):
        ask(url, "set cw.company = '42 or 1=1'", f"table {TICKETS}")


def test_a_server_that_sets_a_place_too_sees_no_more_than_both_allow(clients: Clients) -> None:
    url = clients.urls["server"]
    facts = ("fct_ticket", "fct_invoice", "fct_time_entry")
    at_two = clients_seen(url, "set cw.location = '2'")
    assert {name: at_two[name] for name in facts} == in_each(BOLT, names=facts)
    assert at_two["dim_company"] == {ACME, BOLT}, "a place of ours knows all clients"
    here = clients_seen(url, "set cw.location = '2'", f"set cw.company = '{BOLT}'")
    assert {name: here[name] for name in facts} == in_each(BOLT, names=facts)
    assert here["dim_company"] == here["dim_contact"] == {BOLT}, "a client knows no other"
    there = clients_seen(url, "set cw.department = '2'", f"set cw.company = '{ACME}'")
    assert {name: there[name] for name in facts} == in_each(names=facts)
    assert there["dim_company"] == {ACME}
    assert clients_seen(url, "set cw.location = '2'", "set cw.company = '-1'") == in_each()


def test_a_client_at_one_of_our_locations_does_not_see_the_names_of_others(
    clients: Clients,
) -> None:
    role = clients.roles["nobody"]
    grant_client(clients.dsn, "connectwise", role, Sight(companies=(BOLT,), locations=(2,)))
    try:
        seen = clients_seen(clients.urls["nobody"])
        assert seen["fct_ticket"] == {BOLT}
        assert {own for each in seen.values() for own in each} == {BOLT}
    finally:
        ask(clients.dsn, f"delete from reporting.access where role_name = '{role}'")
        ask(clients.dsn, f"revoke all on all tables in schema client_reporting from {role}")
        ask(clients.dsn, f"revoke all on schema client_reporting from {role}")


def test_no_function_of_ours_is_there_for_a_client_to_call(clients: Clients) -> None:
    callable_functions = (
        "select p.oid::regprocedure::text from pg_proc p join pg_namespace n"
        " on n.oid = p.pronamespace where n.nspname !~ '^(pg_|information_schema)'"
        " and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')"
    )
    assert ask(clients.urls["acme"], callable_functions) == []


def test_a_pool_without_a_clients_role_sees_nothing_itself(
    clients: Clients, server: Server
) -> None:
    server.execute("grant {} to {}", clients.roles["acme"], clients.roles["pool"])
    assert ask(clients.urls["pool"], f"select company_id from {TICKETS}") == []


def test_whoever_was_given_nothing_may_not_even_look(clients: Clients) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        ask(clients.urls["nobody"], f"select * from {TICKETS}")


def test_a_branch_sees_facts_of_its_location_and_the_names_of_all_clients(clients: Clients) -> None:
    seen = clients_seen(clients.urls["branch"])
    assert {name: seen[name] for name in ("fct_ticket", "fct_invoice", "fct_time_entry")} == {
        "fct_ticket": {BOLT},
        "fct_invoice": {BOLT},
        "fct_time_entry": {BOLT},
    }
    assert seen["dim_company"] == {ACME, BOLT}
    assert seen["kpi_ar_aging"] == set(), "no location there: not for whoever has one only"


def test_a_branch_reads_no_ticket_or_invoice_of_other_locations(clients: Clients) -> None:
    url = clients.urls["branch"]
    assert ask(url, "select summary from client_reporting.dim_ticket order by 1") == [
        ("Unknown",),
        (f"secret of {BOLT}",),
    ]
    assert clients_seen(url, names=("dim_invoice",)) == {"dim_invoice": {BOLT}}
    # A client at a place that its ticket is not at.
    sight = ("set cw.location = '1'", f"set cw.company = '{BOLT}'")
    seen = clients_seen(clients.urls["server"], *sight, names=("dim_ticket", "dim_invoice"))
    assert seen == {"dim_ticket": set(), "dim_invoice": set()}


def test_a_row_of_access_written_by_hand_counts_at_once_and_so_does_its_end(
    clients: Clients,
) -> None:
    role, url = clients.roles["acme"], clients.urls["acme"]
    more = f"insert into reporting.access values ('{role}', {BOLT}, 2)"
    ask(clients.dsn, more)
    try:
        assert clients_seen(url, names=SOME)["fct_ticket"] == {ACME, BOLT}
        ask(clients.dsn, "update reporting.access set department_id = 1 where location_id = 2")
        assert clients_seen(url, names=SOME)["fct_ticket"] == {ACME}, (
            "both conditions of a row must hold"
        )
    finally:
        ask(
            clients.dsn,
            f"delete from reporting.access where role_name = '{role}' and location_id is not null",
            f"update reporting.access set department_id = null where role_name <> '{role}'",
        )
    assert clients_seen(url, names=SOME)["fct_ticket"] == {ACME}


@pytest.mark.parametrize(
    ("schema", "relation", "columns"),
    [
        ("reporting", "fct_ticket", "(summary)"),
        ("connectwise", "service_tickets__versions", ""),
        ("connectwise", "service_tickets", ""),
    ],
)
def test_a_role_that_reads_the_rows_of_all_is_not_taken_for_a_clients(
    clients: Clients, server: Server, schema: str, relation: str, columns: str
) -> None:
    role = clients.roles["nobody"]
    as_admin(
        server,
        clients.dsn,
        f"grant usage on schema {schema} to {role}",
        f"grant select {columns} on {schema}.{relation} to {role}",
    )
    try:
        with pytest.raises(WarehouseError, match=rf"it may read {schema}\.{relation}"):
            grant_client(clients.dsn, "connectwise", role, Sight(companies=(ACME,)))
    finally:
        as_admin(server, clients.dsn, f"drop owned by {role}")
    rows = ask(clients.dsn, f"select from reporting.access where role_name = '{role}'")
    assert rows == []


def test_what_a_role_sees_is_said_with_the_names_of_the_clients(clients: Clients) -> None:
    said = grant_client(clients.dsn, "connectwise", clients.roles["acme"], Sight(companies=(ACME,)))
    assert said == [f"client {ACME} (Client {ACME})"]
    grants = "select count(*) from reporting.access where role_name = "
    assert ask(clients.dsn, f"{grants}'{clients.roles['acme']}'") == [(1,)], (
        "asking twice adds none"
    )


def test_upgrades_keep_what_others_were_given_and_have_built(
    clients: Clients, server: Server
) -> None:
    acme, nobody = clients.roles["acme"], clients.roles["nobody"]
    as_admin(
        server,
        clients.dsn,
        "create schema bi",
        f"grant usage, create on schema bi to {acme}",
        f"set role {acme}",
        f"create view bi.theirs as select ticket_id from {TICKETS}",
        "reset role",
        f"grant usage on schema client_reporting to {nobody}",
        f"grant select (summary) on {TICKETS} to {nobody}",
        f"revoke select on client_reporting.fct_invoice from {acme}",
    )
    # As an older version had it: a column less, and another type.
    ask(
        clients.dsn,
        "drop view client_reporting.kpi_ar_aging",
        "create view client_reporting.kpi_ar_aging as select company_id::text from"
        " reporting.kpi_ar_aging",
        f"grant select on client_reporting.kpi_ar_aging to {clients.roles['bolt']}",
        "drop view client_reporting.kpi_warranty",
        "comment on schema client_reporting is 'Edition 0'",
        "update cw_sync.publication set digest = '' where name in ('fct_ticket', 'dim_contact')",
    )
    made = publish(clients.dsn, "connectwise", ZONE)
    assert {"fct_ticket", "kpi_ar_aging", "kpi_warranty", "allowed_company"} <= {*made}
    assert ask(clients.urls["acme"], "table bi.theirs") == [(ACME,)]
    assert ask(clients.urls["nobody"], f"select summary from {TICKETS}") == []
    assert ask(clients.urls["bolt"], "select company_id from client_reporting.kpi_ar_aging") == [
        (BOLT,)
    ]
    for url in (clients.urls["acme"], clients.urls["bolt"]):
        assert len(ask(url, "table client_reporting.kpi_warranty")) == 1
    with pytest.raises(errors.InsufficientPrivilege):
        ask(clients.urls["acme"], "table client_reporting.fct_invoice")
    assert publish(clients.dsn, "connectwise", ZONE) == []
    as_admin(server, clients.dsn, f"grant select on client_reporting.fct_invoice to {acme}")


def test_every_column_of_the_list_is_one_of_its_view_and_described() -> None:
    known = {script.name: script.columns for script in scripts()}
    lacking = {
        f"{name}.{column}"
        for name, listed in listed_views().items()
        for column in listed.columns
        if column not in known.get(name, {})
    }
    assert lacking == set(), "sql/client_reporting.toml"
    for script in client_scripts(ClientSchema("connectwise")):
        assert script.comment
        assert all(script.columns.values())


def test_the_role_for_our_own_reports_is_none_for_a_client(clients: Clients) -> None:
    assert READER not in clients.roles.values()
    assert ClientSchema("acme").schema == "acme_client_reporting"
