"""Values that a tenant has all the same: each counts once, where it should, and is named."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from cw_pipeline.reporting import entities, publish, refresh
from cw_pipeline.warehouse import migrate
from tests.conftest import _database as database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server

USD, EUR = 7, 8
NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.date()


class Desk:
    """A warehouse with rows as a sync stores them; time zone UTC."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def insert(self, table: str, *rows: dict[str, Any]) -> None:
        """Adds rows; what they do not name is empty."""
        with psycopg.connect(self.dsn) as connection:
            for row in rows:
                statement = sql.SQL("insert into connectwise.{} ({}) values ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(sql.Placeholder() * len(row)),
                )
                connection.execute(statement, [*row.values()])

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What the warehouse answers."""
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()

    def run(self, statement: str) -> None:
        """Changes rows, and refreshes the tables."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement.encode())
        refresh(self.dsn, "connectwise")

    def readiness(self, name: str) -> tuple[int, int]:
        """How many records have a flaw, of how many."""
        (row,) = self.ask(
            f"select affected, total from reporting.kpi_data_readiness where check_name = '{name}'"  # noqa: S608
        )
        return row["affected"], row["total"]


def _invoice(number: int, kind: str, total: int, balance: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "company_id": 1,
        "currency_id": USD,
        "status_id": 1,
        "date": TODAY - timedelta(days=10),
        "due_date": TODAY - timedelta(days=5),
        "subtotal": total,
        "total": total,
        "balance": balance,
        **more,
    }


@pytest.fixture(scope="module")
def desk(server: Server, owner: Owner, template: str) -> Iterator[Desk]:
    """One warehouse for all of these."""
    with database(server, owner, template) as dsn:
        migrate(dsn, "connectwise", entities())
        made = Desk(dsn)
        made.insert("finance_currencies", {"id": USD, "name": "USD"}, {"id": EUR, "name": "EUR"})
        made.insert(
            "company_companies",
            {"id": 1, "name": "Acme", "currency_id": USD},
            {"id": 2, "name": "Bolt", "currency_id": USD},
            {"id": 3, "name": "Zürich AG", "currency_id": EUR},
        )
        made.insert(
            "finance_billing_statuses",
            {"id": 1, "name": "Sent", "closed_flag": False},
            {"id": 2, "name": "Voided", "closed_flag": True},
            {"id": 3, "name": "Avoidance", "closed_flag": True},
        )
        made.insert(
            "finance_invoices",
            _invoice(1, "Standard", 1000, 1000),
            _invoice(2, "CreditMemo", -212, 212, service_total=-250, product_total=38),
            _invoice(3, "CreditMemo", 100, 100, service_total=120, product_total=-20),
            _invoice(4, "CreditMemo", -50, -50),
            _invoice(5, "Standard", 777, 777, status_id=2, payments=7),
            _invoice(6, "Standard", 40, 40, status_id=3),
            _invoice(7, "Standard", 300, 300, company_id=3, currency_id=EUR),
        )
        made.insert(
            "time_work_types",
            {"id": 1, "name": "Remote", "utilization_flag": True, "cost_multiplier": 0},
        )
        hired = NOW - timedelta(days=400)
        made.insert(
            "system_members",
            {"id": 1, "hire_date": hired, "daily_capacity": 8, "hourly_cost": 30},
            {"id": 2, "hire_date": hired, "daily_capacity": None, "hourly_cost": 30},
            {
                "id": 3,
                "hire_date": hired,
                "daily_capacity": 8,
                "inactive_flag": True,
                "last_updated": NOW - timedelta(days=100),
            },
        )
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "update connectwise.system_members set include_in_utilization_reporting_flag = true"
            )
        entry = {
            "work_type_id": 1,
            "charge_to_type": "Company",
            "time_start": NOW - timedelta(days=3),
            "billable_option": "Billable",
            "actual_hours": 2,
            "extended_invoice_amount": 200,
        }
        made.insert(
            "time_entries",
            {"id": 1, "member_id": 1, "company_id": 1, **entry},
            {"id": 2, "member_id": 2, "company_id": 2, **entry},
            {"id": 3, "member_id": 1, "company_id": 3, **entry},
        )
        last_week = {
            "date_start": TODAY - timedelta(days=13),
            "date_end": TODAY - timedelta(days=7),
        }
        over, ahead = (f"{TODAY + timedelta(days=days)}T00:00:00Z" for days in (-5, 5))
        made.insert(
            "time_sheets",
            {"id": 1, "member_id": 1, "status": "Open", "deadline": over, **last_week},
            {"id": 2, "member_id": 2, "status": "Open", "deadline": ahead, **last_week},
            {"id": 3, "member_id": 1, "status": "Rejected", "deadline": None, **last_week},
            {"id": 4, "member_id": 1, "status": "PendingApproval", "deadline": over, **last_week},
        )
        made.insert(
            "service_tickets",
            {
                "id": 1,
                "board_id": 1,
                "closed_flag": True,
                "date_entered": NOW - timedelta(days=9),
                "last_updated": NOW - timedelta(days=6),
            },
            {"id": 2, "board_id": 1, "date_entered": NOW - timedelta(days=9)},
        )
        publish(dsn, "connectwise")
        yield made


def test_a_credit_memo_has_one_sign_in_every_fact(desk: Desk) -> None:
    rows = desk.ask("select * from reporting.fct_invoice where is_credit order by invoice_id")
    assert [(row["subtotal"], row["total"], row["balance"]) for row in rows] == [
        (-212, -212, -212),
        (-100, -100, -100),
        (-50, -50, -50),
    ]
    assert [(row["service_total"], row["product_total"]) for row in rows[:2]] == [
        (-250, 38),
        (-120, 20),
    ]
    owed = desk.ask("select invoice_id, balance from reporting.fct_ar where is_credit")
    month = desk.ask("select invoice_id, balance from reporting.fct_ar_month where is_credit")
    assert {row["invoice_id"]: row["balance"] for row in owed} == {2: -212, 3: -100, 4: -50}
    assert not month or {row["invoice_id"]: row["balance"] for row in month} == {
        2: -212, 3: -100, 4: -50
    }  # fmt: skip


def test_void_invoices_count_nowhere_and_are_named(desk: Desk) -> None:
    (void,) = desk.ask("select * from reporting.fct_invoice where is_void")
    assert void["invoice_id"] == 5
    assert [void[name] for name in ("subtotal", "total", "balance", "payments")] == [0, 0, 0, 0]
    assert void["age_bucket"] == "settled"
    assert not desk.ask("select from reporting.fct_ar where invoice_id = 5")
    assert desk.readiness("void invoices") == (1, 7)
    assert desk.readiness("balances of invoices in a closed status") == (1, 6)


def test_no_total_adds_up_two_currencies(desk: Desk) -> None:
    owed = desk.ask(
        "select currency_id, sum(balance) as owed from reporting.kpi_ar_aging group by 1"
    )
    assert {row["currency_id"]: row["owed"] for row in owed} == {
        USD: 1000 - 212 - 100 - 50 + 40,
        EUR: 300,
    }
    work = desk.ask("select currency_id, revenue from reporting.kpi_unbilled where company_id <> 2")
    assert {row["currency_id"]: row["revenue"] for row in work} == {USD: 200, EUR: 200}
    entries = desk.ask("select currency_id, revenue from reporting.fct_time_entry order by 1")
    assert Counter(row["currency_id"] for row in entries) == {USD: 2, EUR: 1}
    weeks = desk.ask("select distinct revenue, currency_id from reporting.kpi_member_week")
    assert weeks == [{"revenue": None, "currency_id": -1}], "two currencies: no sum of both"
    assert desk.readiness("clients in a currency of their own") == (1, 3)


def test_who_has_no_capacity_is_left_out_of_everybodys_utilization(desk: Desk) -> None:
    rows = desk.ask(
        "select member_id, has_capacity, utilization from reporting.kpi_member_week"
        " where hours_utilized > 0 order by 1"
    )
    assert [(row["member_id"], row["has_capacity"]) for row in rows] == [(1, True), (2, False)]
    assert rows[1]["utilization"] is None
    assert desk.readiness("members without capacity") == (1, 2)


def test_who_left_without_a_date_left_when_the_record_last_changed(desk: Desk) -> None:
    (member,) = desk.ask("select * from reporting.dim_member where is_left_assumed")
    left = TODAY - timedelta(days=100)
    assert (member["member_id"], member["left_on"]) == (3, left)
    days = desk.ask("select min(date), max(date) from reporting.fct_member_day where member_id = 3")
    assert days == [{"min": TODAY - timedelta(days=400), "max": left - timedelta(days=1)}]
    assert desk.readiness("inactive members without a date") == (1, 1)


def test_a_cost_multiplier_of_zero_makes_no_hour_free(desk: Desk) -> None:
    rows = desk.ask("select labour_cost from reporting.fct_time_entry")
    assert [row["labour_cost"] for row in rows] == [Decimal(60)] * 3
    assert desk.readiness("work types with a cost multiplier of 0") == (1, 1)


def test_time_sheets_that_were_not_handed_in_are_overdue_after_their_deadline(desk: Desk) -> None:
    rows = desk.ask("select * from reporting.kpi_timesheet order by timesheet_id")
    assert [row["is_overdue"] for row in rows] == [True, False, True, False]
    assert [row["is_submitted"] for row in rows] == [False, False, False, True]
    assert rows[0]["hours_missing"] == rows[0]["hours_capacity"] == 40
    assert rows[1]["hours_missing"] == 0, "no capacity, nothing missing"


def test_a_ticket_closed_without_a_date_is_closed_at_its_last_change(desk: Desk) -> None:
    def closed() -> dict[date, int]:
        rows = desk.ask(
            "select date, closed_without_date from reporting.kpi_service_daily"
            " where tickets_closed > 0"
        )
        return {row["date"]: row["closed_without_date"] for row in rows}

    ticket = "select is_close_assumed, closed_date from reporting.fct_ticket where ticket_id = 1"
    last = TODAY - timedelta(days=6)
    assert desk.ask(ticket) == [{"is_close_assumed": True, "closed_date": last}]
    assert closed() == {last: 1}
    assert desk.readiness("closed tickets without a closing date") == (1, 1)
    backlog = desk.ask("select date from reporting.fct_ticket_daily where ticket_id = 1")
    assert max(row["date"] for row in backlog) == last - timedelta(days=1)
    # A later change moves the day, and leaves nothing where it was.
    desk.run(
        "update connectwise.service_tickets set _synced_at = now(),"
        " last_updated = last_updated + interval '2 days' where id = 1"
    )
    assert closed() == {last + timedelta(days=2): 1}


def test_a_quota_without_a_currency_is_in_the_one_that_there_is(desk: Desk) -> None:
    year = TODAY.year
    desk.insert("sales_opportunities_statuses", {"id": 1, "won_flag": True, "closed_flag": True})
    desk.insert(
        "sales_quotas",
        {"id": 1, "member_id": 1, "forecast_year": year, "january_revenue": 400},
        {"id": 2, "member_id": 2, "forecast_year": year, "january_revenue": 50, "currency_id": USD},
    )
    won = {"status_id": 1, "closed_date": datetime(year, 1, 15, tzinfo=UTC)}
    desk.insert(
        "sales_opportunities",
        {"id": 1, "primary_sales_rep_id": 1, "currency_id": USD, **won},
        {"id": 2, "primary_sales_rep_id": 1, **won},
        {"id": 3, "primary_sales_rep_id": 2, **won},
    )
    worth = {1: 90, 2: 10, 3: 30, 4: 70}
    desk.insert(
        "sales_opportunities_forecast",
        *(
            {"id": own, "parent_id": own, "forecast_revenue_totals_revenue": amount}
            for own, amount in worth.items()
        ),
    )

    def january() -> list[tuple[Any, ...]]:
        rows = desk.ask(
            "select * from reporting.kpi_quota_month where extract(month from month) = 1"
        )
        names = ("member_id", "currency_id", "revenue_quota", "revenue_won", "attainment")
        return sorted(tuple(row[name] for name in names) for row in rows)

    assert january() == [(1, USD, 400, 100, Decimal("0.25")), (2, USD, 50, 30, Decimal("0.6"))]
    desk.insert("sales_opportunities", {"id": 4, "primary_sales_rep_id": 1, "currency_id": EUR})
    assert january() == [(1, -1, 400, None, None), (2, USD, 50, 0, 0)], "which of the two it is in?"
    desk.run("select 1")
    assert desk.readiness("sales quotas without a currency") == (1, 2)
    unlisted = {"member_id": 1, "forecast_year": year, "january_revenue": 5, "currency_id": 9}
    desk.insert("sales_quotas", {"id": 3, **unlisted})
    assert january()[0] == (1, -1, 405, None, None), "one row, whichever way it is not known"
    assert len(january()) == 2
    desk.run("select 1")
    assert desk.readiness("sales quotas without a currency") == (2, 3)


def test_an_allotment_starts_anew_when_its_agreement_says(desk: Desk) -> None:
    """Counted by hand: from the 31st of a long month on, in weeks, in incidents, once for all."""
    start = date(TODAY.year - 1, 1, 31)
    again = [start]
    while len(again) < 9:
        later = again[0].month - 1 + 3 * len(again)
        first = date(start.year + (later + 1) // 12, (later + 1) % 12 + 1, 1)
        again.append(first - timedelta(days=1))  # the last day of the month, 30 or 31
    quarter = max(each for each in again if each <= TODAY)
    fortnight = next(
        start + timedelta(days=14 * at)
        for at in range(1000)
        if start + timedelta(days=14 * (at + 1)) > TODAY
    )
    year = start.replace(year=TODAY.year) if date(TODAY.year, 1, 31) <= TODAY else start
    cycles = {
        71: ("ContractQuarter", "Hours", quarter),
        72: ("Contract2Weeks", "Amount", fortnight),
        73: ("ContractYear", "Incidents", year),
        74: (None, "Hours", start),
    }
    for own, (cycle, units, _) in cycles.items():
        desk.insert(
            "finance_agreements",
            {
                "id": own, "company_id": 1, "application_limit": 10, "application_units": units,
                "application_cycle": cycle, "start_date": start, "no_ending_date_flag": True,
            },
        )  # fmt: skip

    def work(own: int, agreement: int, on: date, hours: int, ticket: int) -> None:
        desk.insert(
            "time_entries",
            {
                "id": own, "agreement_id": agreement, "ticket_id": ticket, "company_id": 1,
                "agreement_hours": hours, "agreement_amount": 100 * hours, "actual_hours": hours,
                "time_start": datetime(on.year, on.month, on.day, 12, tzinfo=UTC),
            },
        )  # fmt: skip

    for own, (_, _, begins) in cycles.items():
        work(10 * own, own, begins, 4, 1)
        work(10 * own + 1, own, begins, 2, 1)
        work(10 * own + 2, own, begins - timedelta(days=1), 32, 2)
    covered = {"agreement_id": 72, "company_id": 1, "agreement_amount": 55}
    desk.insert(
        "expense_entries",
        {"id": 1, "date": fortnight, **covered},
        {"id": 2, "date": fortnight - timedelta(days=1), **covered},
    )
    refresh(desk.dsn, "connectwise")
    rows = desk.ask(
        "select * from reporting.kpi_agreement_allotment"
        " where agreement_id between 71 and 74 order by agreement_id"
    )
    assert [
        (row["agreement_id"], row["period_start"], row["used"], row["remaining"], row["is_overrun"])
        for row in rows
    ] == [
        (71, quarter, 6, 4, False),
        (72, fortnight, 655, -645, True),
        (73, year, 1, 9, False),
        (74, start, 6, 4, False),
    ]


def test_what_a_period_leaves_is_carried_over_until_it_is_lost(desk: Desk) -> None:
    """Counted by hand: three fortnights of 10 each, the present one in its fourth day."""
    first = TODAY - timedelta(days=31)
    made = iter(range(8100, 8200))

    def agreement(
        own: int, *, lost: int | None = None, units: str = "Hours", limit: int = 10
    ) -> None:
        desk.insert(
            "finance_agreements",
            {
                "id": own, "company_id": 1, "application_limit": limit, "application_units": units,
                "application_cycle": "Contract2Weeks", "start_date": first,
                "no_ending_date_flag": True, "carry_over_unused": True, "expired_days": lost,
            },
        )  # fmt: skip

    def work(own: int, *spent: tuple[int, int], ticket: int = 1) -> None:
        for after, hours in spent:
            on = first + timedelta(days=after)
            desk.insert(
                "time_entries",
                {
                    "id": next(made), "agreement_id": own, "ticket_id": ticket, "company_id": 1,
                    "agreement_hours": hours, "actual_hours": hours,
                    "time_start": datetime(on.year, on.month, on.day, 12, tzinfo=UTC),
                },
            )  # fmt: skip

    def adjust(own: int, after: int, amount: int) -> None:
        on = first + timedelta(days=after)
        values = {"id": next(made), "parent_id": own, "amount": amount, "effective_date": on}
        desk.insert("finance_agreements_adjustments", values)

    agreement(81)  # leaves 6, then 3 of 16
    work(81, (0, 4), (14, 13), (28, 1))
    agreement(82, lost=7)  # of 6 it uses 2 and loses 4; of the next 10 it uses 3, and 1 now
    work(82, (0, 4), (15, 2), (22, 3), (29, 1))
    agreement(83, lost=2)  # of 10 it used 3 in time
    work(83, (0, 4), (15, 4), (28, 3))
    agreement(84)  # 5 too many, which are billed; leaves 8; then 2 too many
    work(84, (0, 15), (14, 2), (28, 20))
    agreement(85)  # 15, of which 5 are used; then 12 are taken away
    work(85, (0, 10), (14, 5), (28, 3))
    adjust(85, 20, 5)
    adjust(85, 30, -12)
    agreement(86, units="Incidents", limit=3)  # two tickets, then one of them again
    work(86, (0, 1), (1, 1), (14, 1))
    work(86, (2, 1), ticket=2)
    agreement(87, lost=0)  # no days: never
    work(87, (14, 1))
    refresh(desk.dsn, "connectwise")
    rows = desk.ask(
        "select * from reporting.kpi_agreement_allotment"
        " where agreement_id > 80 order by agreement_id"
    )
    names = ("agreement_id", "adjusted", "carried_over", "used", "remaining", "is_overrun")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (81, 0, 3, 1, 12, False),
        (82, 0, 7, 1, 16, False),
        (83, 0, 3, 3, 10, False),
        (84, 0, 8, 20, -2, True),
        (85, -12, 10, 3, 5, False),
        (86, 0, 3, 0, 6, False),
        (87, 0, 19, 0, 29, False),
    ]


def test_unbilled_work_is_in_the_currency_of_its_agreement(desk: Desk) -> None:
    under = {"company_id": 2, "agreement_id": 80, "billable_option": "Billable"}
    desk.insert("finance_agreements", {"id": 80, "company_id": 2, "currency_id": EUR})
    desk.insert(
        "time_entries", {"id": 81, "time_start": NOW, "extended_invoice_amount": 11, **under}
    )
    desk.insert("procurement_products", {"id": 82, "ext_price": 13, **under})
    refresh(desk.dsn, "connectwise")
    unbilled = desk.ask(
        "select kind, revenue from reporting.kpi_unbilled"  # noqa: S608 - our own number
        f" where company_id = 2 and currency_id = {EUR}"
    )
    assert {row["kind"]: row["revenue"] for row in unbilled} == {"time": 11, "product": 13}


def test_another_time_zone_moves_every_day_that_depends_on_it(desk: Desk) -> None:
    """Comes last: the others count days in UTC."""
    late = datetime.combine(TODAY - timedelta(days=30), datetime.min.time(), UTC)
    late += timedelta(hours=23)
    desk.insert("service_tickets", {"id": 9, "board_id": 9, "date_entered": late})
    refresh(desk.dsn, "connectwise")
    opened = (
        "select date from reporting.kpi_service_daily where board_id = -1 and tickets_opened = 1"
    )
    days = {row["date"] for row in desk.ask(opened)}
    assert late.date() in days
    publish(desk.dsn, "connectwise", "Pacific/Auckland")
    moved = {row["date"] for row in desk.ask(opened)}
    assert late.date() + timedelta(days=1) in moved
    assert late.date() not in moved
    zone = "select distinct time_zone from cw_sync.publication where tenant = 'connectwise'"
    assert desk.ask(zone) == [{"time_zone": "Pacific/Auckland"}]
