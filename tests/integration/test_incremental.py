"""A table that follows changes holds what one made from nothing would, whatever days pass.

Days of random edits on every column that a report reads: records move between members, clients,
boards, agreements and months, become something else, are deleted and come back, arrive late. The
server's clock is simulated and goes on by days and months between them. More of them:

    python3 -m cw_pipeline test tests/integration/test_incremental.py --edit-histories 500
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from cw_pipeline.catalog import CATALOG
from cw_pipeline.catalog.reported import columns_of_versions
from cw_pipeline.model import Kind
from cw_pipeline.reporting import entities, publish
from cw_pipeline.reporting.row_difference import CHANGED_AT
from cw_pipeline.reporting.script import ReportingSchema, scripts
from cw_pipeline.reporting.tables import _refresh_table, refresh_published
from cw_pipeline.warehouse import connections, migrate
from cw_pipeline.warehouse.history import delete_keeping_versions
from tests.conftest import _database as database
from tests.integration.conftest import ZONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from cw_pipeline.model import Column, Entity
    from tests.conftest import Owner, Server

PATH = "clock,pg_catalog,public"
CLOCK = """
create schema clock;
create table clock.setting (ahead interval not null);
insert into clock.setting values ('-700 days');
create function clock.now() returns timestamptz stable language sql as
    'select pg_catalog.now() + (select ahead from clock.setting)';
create function clock.clock_timestamp() returns timestamptz volatile language sql as
    'select pg_catalog.clock_timestamp() + (select ahead from clock.setting)';
"""
"""`now()` of whoever has this schema in its path before PostgreSQL's own."""

WORDS = {
    "billing_options": ["Monthly", "Yearly", "NotRecurring"],
    "bill_customer": ["Billable", "DoNotBill", "NoCharge"],
    "billable_option": ["Billable", "DoNotBill", "NoCharge"],
    "charge_to_type": ["ServiceTicket", "ProjectTicket", "ChargeCode"],
    "apply_to_type": ["Agreement", "Project", "Ticket"],
    "type": ["CreditMemo", "Standard"],
    "record_type": ["ServiceTicket"],
    "status": ["Open", "Billed", "WrittenOff"],
    "identifier": ["a", "b", "S", "C"],
    "name": ["a", "b", "Void"],
}
DAYS = (-450, -401, -400, -62, -31, -9, -2, -1, 0, 5, 40)
NAMES = ["finance_billing_statuses", "finance_currencies", "system_departments", "system_locations"]
"""Lists whose new records were missed once."""
CHANGES = (
    *("service/tickets", "project/tickets", "time/entries", "finance/agreements"),
    *("finance/agreements/additions", "finance/invoices", "sales/opportunities"),
)
"""Lists whose changes `fct_change_all` has, one by one."""
BUSY = (
    *("service_tickets", "project_tickets", "time_entries", "finance_agreements"),
    *("schedule_entries", "schedule_types", "service_surveys_results", "time_charge_codes"),
    "system_members",
)


def _read_by(names: Iterable[str]) -> list[Entity]:
    """The entities behind these views."""
    by_name = {script.name: script for script in scripts()}
    found: set[str] = set()
    ahead = [*names]
    while ahead:
        script = by_name[ahead.pop()]
        found |= script.sources
        ahead += script.needs
    known = {one.table: name for name, one in CATALOG.declared.items()}
    return [CATALOG[known[table]] for table in sorted(found) if table in known]


STAMPED = [
    script.name
    for script in scripts()
    if CHANGED_AT in script.columns
    and script.name.startswith(("dim", "fct", "kpi"))
    and script.name != "fct_ticket_transition"  # there it is when the ticket was changed
]
READ = _read_by(script.name for script in scripts() if script.changed is not None)
READ_BY_ALL = _read_by([*STAMPED, *(script.name for script in scripts() if script.changed)])
CHOICES = [own.name for own in (*READ, *(o for o in READ if o.table in BUSY for _ in range(6)))]

edits = st.tuples(st.integers(1, 4), st.integers(0, 10**6), st.booleans())
"""Which record (4 has yet to come), the seed of its values, and whether it is deleted instead."""

steps = st.tuples(
    st.sampled_from([0, 1, 1, 2, 31, 45]),
    st.sampled_from(CHOICES),
    st.lists(edits, min_size=2, max_size=8),
)
"""Days that pass, and what is edited then. One list: edits of others would hide what it lacks."""


class Edited:
    """A published warehouse under a clock of its own."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        options = f"-c search_path={PATH}"
        self.connection = psycopg.connect(dsn, autocommit=True, options=options)
        self.refresher = psycopg.connect(dsn, autocommit=True, options=options)
        self.refresher.prepare_threshold = None  # as the pipeline's own: temporary tables change
        self.place = ReportingSchema("connectwise", ZONE)

    def reset(self) -> None:
        """Empties everything, and puts the clock back."""
        self.edits = 0
        tables = self.connection.execute(
            "select format('%%I.%%I', schemaname, tablename) from pg_tables"
            " where schemaname = 'connectwise'"
            " and (tablename = any(%s) or tablename like '%%__versions')",
            [[own.table for own in READ_BY_ALL]],
        ).fetchall()
        self.tables = ", ".join(name for (name,) in tables)
        self.connection.execute(f"truncate {self.tables}".encode())
        self.connection.execute("update cw_sync.publication set changed_through = null")
        self.connection.execute("update clock.setting set ahead = '-700 days'")
        refresh_published(self.transaction, "connectwise", None)

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """One of a connection that stays: to make one for each table is a sixth of a history."""
        with self.refresher.transaction():
            yield self.refresher

    def pass_days(self, days: int) -> None:
        """Lets the clock go on; it never comes up to the real one."""
        self.connection.execute(
            "update clock.setting set ahead = least(ahead + %s, '-10 days')", [timedelta(days=days)]
        )

    def refresh(self) -> None:
        """Brings the tables up to date; Postgres knows what is in those that they read."""
        self.connection.execute(f"analyze {self.tables}".encode())
        refresh_published(self.transaction, "connectwise", None)

    def edit(self, entity: Entity, own: int, seed: int, *, deleted: bool) -> None:
        """Stores a record with random values as a merge does, or soft-deletes it."""
        self.edits += 1  # equal seeds, which Hypothesis likes, are to be different records
        table, parent = sql.Identifier("connectwise", entity.table), seed % 2 + 1
        if deleted:
            self.connection.execute(
                sql.SQL(
                    "update {} set _deleted_at = now(), _synced_at = now()"
                    " where id = %s and _deleted_at is null"
                ).format(table),
                [own],
            )
            return
        (now,) = self.connection.execute("select now()").fetchone() or (None,)
        values = {"id": own, **({"parent_id": parent} if entity.parent else {}), "_row_hash": 0}
        values |= _record(entity, own, Random(f"{seed} {self.edits}"), now)  # noqa: S311 - no secret
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        with self.connection.transaction():
            stamps = {own: values.get("last_updated")}
            kept = entity.parent and parent
            delete_keeping_versions(self.connection, "connectwise", entity, stamps, kept or None)
            self.connection.execute(
                sql.SQL("insert into {} ({}) values ({})").format(
                    table, names, sql.SQL(", ").join([sql.Placeholder()] * len(values))
                ),
                [*values.values()],
            )

    def differences(self) -> dict[str, Any]:
        """Rows that a table has and should not have, and the other way round, of each table."""
        found = {}
        for script in scripts():
            if script.changed is None:
                continue
            columns = ", ".join(f'"{name}"' for name in script.columns if name != CHANGED_AT)
            kept = f"select {columns} from reporting.{script.name}"  # noqa: S608
            true = f"select {columns} from ({script.query_for(self.place)}) q"  # noqa: S608
            query = (
                f"with kept as materialized ({kept}), fresh as materialized ({true})"  # noqa: S608
                " (select 'wrong', * from (table kept except all table fresh) q)"
                " union all (select 'lacking', * from (table fresh except all table kept) q)"
            )
            rows = self.connection.execute(query.encode()).fetchall()
            wrong = [row[1:] for row in rows if row[0] == "wrong"]
            lacking = [row[1:] for row in rows if row[0] == "lacking"]
            if wrong or lacking:
                found[script.name] = {
                    "rows": (len(wrong), len(lacking)),
                    "first": _beside(columns.split(", "), wrong, lacking),
                }
        return found

    def remember(self) -> datetime:
        """Keeps what has `changed_at` as it is now: when that was."""
        for name in STAMPED:
            self.connection.execute(f"drop table if exists pg_temp.{name}".encode())
            self.connection.execute(f"create temp table {name} as table reporting.{name}".encode())
        row = self.connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        return row[0]  # type: ignore[no-any-return]

    def silent(self, since: datetime) -> dict[str, Any]:
        """Rows that differ from those kept, and whose `changed_at` does not say so.

        Of tables those too that are as they were, although it does.
        """
        found = {}
        for script in scripts():
            if script.name not in STAMPED:
                continue
            own = ", ".join(f'"{name}"' for name in script.columns if name != CHANGED_AT)
            all_of = f"select {own} from reporting.{script.name}"  # noqa: S608
            before = f"select {own} from pg_temp.{script.name}"  # noqa: S608
            stamped = f"{all_of} where {CHANGED_AT} > %(since)s"
            queries = [f"({all_of} except all {before}) except all {stamped}"]
            if script.changed is not None:
                queries.append(f"{stamped} except all ({all_of} except all {before})")
            for query in queries:
                if rows := self.connection.execute(query.encode(), {"since": since}).fetchall():
                    found[script.name] = len(rows), _beside(own.split(", "), rows, [])[0]
        return found


def _beside(names: list[str], wrong: list[Any], lacking: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(names, rows[0], strict=True)) if rows else {} for rows in (wrong, lacking)]


def _record(entity: Entity, own: int, random: Random, now: datetime) -> dict[str, Any]:
    """Random values of the columns that reports read. When it was entered never changes."""
    read = {*columns_of_versions(entity.table, entity.columns)}
    values = {
        column.name: _value(column, random, now)
        for column in entity.columns
        if column.name in read and column.name != "id"
    }
    entered = now.replace(year=2024, month=2 + own, day=10, hour=5)
    if "date_entered" in values:
        values["date_entered"] = entered
    if "last_updated" in values:
        values["last_updated"] = random.choice([now, now, now, now - timedelta(days=3), None])
    return values


def _value(column: Column, random: Random, now: datetime) -> Any:
    at = now + timedelta(days=random.choice(DAYS), hours=random.choice([0, 3, 11]))
    choices: dict[Kind, list[Any]] = {
        Kind.BIGINT: [1, 2, 3, 4],
        Kind.NUMERIC: [0, 1, 2.5, -3],
        Kind.BOOLEAN: [True, False],
        Kind.DATE: [at.date()],
        Kind.TIMESTAMPTZ: [at],
        Kind.TEXT: WORDS.get(column.name, ["a", "b"]),
    }
    return None if random.random() < 0.15 else random.choice(choices[column.kind])


@pytest.fixture(scope="module")
def edited(server: Server, owner: Owner, template: str) -> Iterator[Edited]:
    """An empty warehouse, published, in which it is long ago."""
    with pytest.MonkeyPatch.context() as patch, database(server, owner, template) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute(CLOCK)
        patch.setitem(connections._PINNED, "search_path", PATH)
        with psycopg.connect(dsn, options=f"-c search_path={PATH}") as connection:
            # The template's tables were made under the real clock.
            for own in entities():
                connection.execute(
                    sql.SQL("alter table if exists {} alter _synced_at set default now()").format(
                        sql.Identifier("connectwise", own.table)
                    )
                )
        migrate(dsn, "connectwise", entities())
        publish(dsn, "connectwise", ZONE)
        made = Edited(dsn)
        made.connection.execute("update cw_sync.history_column set since = now() + '30 days'")
        yield made
        made.connection.close()
        made.refresher.close()


@pytest.mark.timeout(0)
def test_incremental_equals_rebuilt(edited: Edited, pytestconfig: pytest.Config) -> None:
    few = pytestconfig.getoption("--edit-histories")

    @settings(
        max_examples=few,
        deadline=None,
        derandomize=few <= 2,
        database=None,
        phases=[Phase.generate],  # a history takes seconds: to make it shorter, minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 10**6), st.lists(steps, min_size=4, max_size=4 if few <= 2 else 12))
    def holds(filled: int, history: list[Any]) -> None:
        edited.reset()
        for at, entity in enumerate(READ):
            for own in (1, 2, 3):
                edited.edit(entity, own, filled + 10 * at + own, deleted=False)
        edited.refresh()
        for days, name, changes in history:
            edited.pass_days(days)
            for own, seed, deleted in changes:
                edited.edit(CATALOG[name], own, seed, deleted=deleted)
            edited.refresh()
            assert edited.differences() == {}, name

    holds()


@pytest.mark.timeout(0)
def test_changed_at_moves_when_any_column_does(edited: Edited, pytestconfig: pytest.Config) -> None:
    """A tool that asks for what changed since it asked last gets each row that differs."""
    for history in range(pytestconfig.getoption("--edit-histories")):
        random = Random(history)  # noqa: S311 - no secret
        edited.reset()
        for entity in READ_BY_ALL:
            for own in (1, 2):
                edited.edit(entity, own, random.randrange(10**6), deleted=False)
        edited.refresh()
        for days, share in ((1, 0.0), (0, 0.4), (1, 0.3), (31, 0.4)):
            since = edited.remember()
            edited.pass_days(days)
            for entity in READ_BY_ALL:
                if random.random() < share:
                    own, seed = random.randint(1, 4), random.randrange(10**6)
                    edited.edit(entity, own, seed, deleted=random.random() < 0.3)
            edited.refresh()
            assert edited.silent(since) == {}
            assert edited.differences() == {}


@pytest.mark.timeout(0)
def test_what_a_record_names_may_come_later(edited: Edited, pytestconfig: pytest.Config) -> None:
    few = pytestconfig.getoption("--edit-histories") <= 1
    later = [entity for entity in READ_BY_ALL if not few or entity.table in NAMES]
    edited.reset()
    for entity in READ_BY_ALL:
        for own in {1, 2, 3} if entity in later else {1, 2, 3, 4, 5, 6, 7, 8}:
            edited.edit(entity, own, own, deleted=False)
    edited.refresh()
    for place in ("location", "department"):
        key = f"{place}_id"
        listed = f"select {key} from reporting.dim_{place}"  # noqa: S608
        asked = f"select {key} from reporting.fct_member_day where {key} not in ({listed})"  # noqa: S608
        assert edited.connection.execute(asked.encode()).fetchall() == []
    for entity in later:
        edited.edit(entity, 4, 4, deleted=False)
        if entity.table in NAMES:
            named = f"update connectwise.{entity.table} set name = 'Void' where id = 4"  # noqa: S608
            edited.connection.execute(named.encode())
        edited.refresh()
        assert edited.differences() == {}, entity.name


def test_a_month_is_closed_on_time_where_the_clocks_change(edited: Edited) -> None:
    edited.reset()
    table = "insert into connectwise.finance_agreements (id, start_date, bill_amount, _row_hash)"
    edited.connection.execute(f"{table} values (1, '2025-06-01', 10, 0)".encode())
    found = {}
    for moment in ("2025-11-06 04:30Z", "2025-11-06 05:30Z"):  # it is closed at 05:00Z
        edited.connection.execute(
            "update clock.setting set ahead = %s::timestamptz - pg_catalog.now()", [moment]
        )
        edited.refresh()
        asked = "select is_closed from reporting.fct_mrr_month where month = '2025-10-01'"
        found[moment] = edited.connection.execute(asked.encode()).fetchall()
    assert [*found.values()] == [[(False,)], [(True,)]]


def test_a_number_that_two_lists_have_shows_the_one_that_is_left(edited: Edited) -> None:
    """A project ticket is listed among the service tickets, too, by older servers."""
    service, project = CATALOG["service/tickets"], CATALOG["project/tickets"]
    edited.reset()
    for own in (1, 2):
        edited.edit(service, own, own, deleted=False)
        edited.edit(project, own, own, deleted=False)
    edited.refresh()
    for deleted in (True, False):
        edited.pass_days(1)
        edited.edit(project, 1, 3, deleted=deleted)
        edited.refresh()
        assert edited.differences() == {}
    edited.edit(service, 1, 4, deleted=False)  # not shown, and a version all the same
    edited.refresh()
    assert edited.differences() == {}


def test_work_under_an_agreement_is_the_month_of_whose_work_it_is(edited: Edited) -> None:
    """The agreement is another client's. That one has an invoice, and no row for the agreement.

    It names a charge code, and not which: then it is a client's.
    """
    edited.reset()
    edited.connection.execute("""
        insert into connectwise.finance_currencies (id, _row_hash) values (1, 0), (2, 0);
        insert into connectwise.company_companies (id, currency_id, _row_hash)
            values (1, 1, 0), (2, 1, 0);
        insert into connectwise.finance_agreements (id, company_id, _row_hash) values (1, 2, 0);
        insert into connectwise.finance_invoices
            (id, company_id, currency_id, date, subtotal, _row_hash) values (1, 2, 2, now(), 5, 0);
        insert into connectwise.time_entries
            (id, company_id, charge_to_type, agreement_id, time_start, _row_hash)
            values (1, 1, 'ChargeCode', 1, now(), 0)
    """)
    months = "select company_id from reporting.kpi_client_month order by 1"
    found = []
    for change in (
        "",
        # a version before it: another client's, since when nobody's
        """insert into connectwise.time_entries__versions
            (id, company_id, charge_to_type, time_start, _valid_to, _next_from, _recorded_to)
            select 1, 1, 'ChargeCode', time_start, now(), now(), now()
            from connectwise.time_entries;
        update connectwise.time_entries set company_id = null, _synced_at = now()""",
        "update connectwise.time_entries set _deleted_at = now(), _synced_at = now()",
    ):
        edited.connection.execute(change.encode())
        edited.refresh()
        found.append([own for (own,) in edited.connection.execute(months.encode())])
    assert found == [[1, 2], [-1, 2], [2]]
    assert edited.differences() == {}


def test_a_client_that_comes_between_two_tables_takes_its_cost_along(edited: Edited) -> None:
    """And so does work that a process of the version before wrote, which knows no `work_month`."""
    edited.reset()
    edited.connection.execute("""
        insert into connectwise.finance_agreements (id, company_id, start_date, _row_hash)
            values (1, 3, now() - interval '40 days', 0);
        insert into connectwise.finance_agreements_additions (parent_id, id, ext_cost, _row_hash)
            values (1, 1, 10, 0);
        insert into connectwise.time_entries (id, company_id, time_start, _row_hash)
            values (1, 3, now(), 0)
    """)
    edited.refresh()
    come = "insert into connectwise.company_companies (id, _row_hash) values (3, 0)"
    edited.connection.execute(come)
    (kpi,) = (script for script in scripts() if script.name == "kpi_client_month")
    _refresh_table(edited.transaction, edited.place, kpi)  # and not yet what it reads
    edited.connection.execute("update reporting.fct_time_entry_all set work_month = null")
    edited.refresh()
    assert edited.differences() == {}


def test_a_record_that_is_back_after_its_row_was_deleted_by_hand_has_its_changes(
    edited: Edited,
) -> None:
    """A reconcile puts it back, and there is no new version of it."""
    edited.reset()
    for name in CHANGES:
        for seed in (2, 4):
            edited.edit(CATALOG[name], 1, seed, deleted=False)
    edited.refresh()
    for name in CHANGES:
        deleted = f"delete from connectwise.{CATALOG[name].table} where id = 1"  # noqa: S608
        edited.connection.execute(deleted.encode())
    edited.pass_days(1)
    edited.refresh()
    for name in CHANGES:
        edited.edit(CATALOG[name], 1, 6, deleted=False)
    edited.refresh()
    assert edited.differences() == {}


def test_a_column_that_is_kept_no_longer_had_no_changes_to_nothing(edited: Edited) -> None:
    edited.reset()
    migrate(edited.dsn, "connectwise", [], "service/tickets.estimated_start_date")
    edited.connection.execute("""
        update cw_sync.history_column set since = '-infinity'
            where column_name = 'estimated_start_date';
        insert into connectwise.service_tickets (id, estimated_start_date, _row_hash)
            values (1, now(), 0);
        insert into connectwise.service_tickets__versions
            (id, _valid_to, _next_from, _recorded_to) values (1, now(), now(), now())
    """)
    asked = "select from reporting.fct_change_all where attribute = 'estimated_start_date'"
    for kept, shown in ((None, 1), ("", 0)):
        migrate(edited.dsn, "connectwise", [], kept)
        edited.refresh()
        assert len(edited.connection.execute(asked.encode()).fetchall()) == shown
    assert edited.differences() == {}
