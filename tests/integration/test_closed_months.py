"""A closed month of recurring revenue stays as it was, whatever is edited after it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typing_extensions import override

from cw_pipeline.reporting import publish, refresh
from tests.conftest import _database as database
from tests.integration.conftest import ZONE
from tests.integration.ledger import Ledger, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server

TODAY = datetime.now(UTC).date()
THIS_MONTH = TODAY.replace(day=1)
LAST_MONTH = (THIS_MONTH - timedelta(days=1)).replace(day=1)
CLOSED = (LAST_MONTH - timedelta(days=1)).replace(day=1)
START = CLOSED - timedelta(days=200)
AGREEMENTS, ADDITIONS = "finance/agreements", "finance/agreements/additions"
AMOUNTS = {1: "5448.97", 2: "100", 3: "200", 4: "7675.46", 5: "7213.79", 6: "6886.92", 7: "300"}
"""What each agreement bills a month; each has a client of its own, with the same number."""


class Books(Ledger):
    """Agreements, and what reports say of them."""

    ran_before: list[dict[str, Any]]

    def agreement(self, own: int, **changed: Any) -> None:
        """An agreement that bills monthly, since long ago, but for what is `changed`."""
        entered = changed.pop("entered", START)
        usual = {
            "id": own,
            "name": f"agreement {own}",
            "company": {"id": own},
            "currency": {"id": 1},
            "billingCycle": {"id": 1},
            "billAmount": Decimal(AMOUNTS.get(own, "50")),
            "startDate": f"{CLOSED - timedelta(days=100)}T00:00:00Z",
            "noEndingDateFlag": True,
            "_info": {"lastUpdated": stamp(), "dateEntered": f"{entered}T12:00:00Z"},
        }
        self.merge(AGREEMENTS, json.loads(json.dumps({**usual, **changed}, default=str)))

    def addition(self, agreement: int, price: str, **changed: Any) -> None:
        """The one addition of an agreement."""
        usual = {
            "id": 1,
            "extPrice": float(price),
            "billCustomer": "Billable",
            "agreementId": agreement,
            "effectiveDate": f"{START}T00:00:00Z",
            "extCost": 5.0,
            "_info": {"lastUpdated": stamp(), "dateEntered": f"{START}T12:00:00Z"},
        }
        self.merge(ADDITIONS, {**usual, **changed}, parent_id=agreement)

    @override
    def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What the refreshed reports answer."""
        refresh(self.dsn, "connectwise", ["kpi_mrr_month", "kpi_agreement_month"])
        return super().ask(query, *values)

    def closed(self) -> list[dict[str, Any]]:
        """All that is recorded of the months before this one."""
        return self.ask(
            "select agreement_id, company_id, currency_id, month, mrr_base, mrr_additions, mrr,"
            " basis from reporting.fct_mrr_month where month < %s and mrr <> 0 order by 1, 2, 3, 4",
            THIS_MONTH,
        )

    def running(self) -> list[dict[str, Any]]:
        """Which agreements ran in the months before this one, and what was added to them."""
        return self.ask(
            "select agreement_id, company_id, currency_id, month, is_running, additions_price,"
            " additions_cost from reporting.fct_agreement_month where month < %s order by 1, 4",
            THIS_MONTH,
        )

    def moves(self) -> dict[tuple[int, int], dict[str, Any]]:
        """This month by client and currency."""
        rows = self.ask("select * from reporting.kpi_mrr_month where month = %s", THIS_MONTH)
        return {(row["company_id"], row["currency_id"]): row for row in rows}


def _tracked_since(dsn: str, since: date) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("update cw_sync.history_column set since = %s", [since])
        connection.execute("update cw_sync.publication set changed_through = null where is_table")


@pytest.fixture(scope="module")
def seven_edits(
    server: Server, owner: Owner, publication: str
) -> Iterator[tuple[Books, list[dict[str, Any]]]]:
    """Seven agreements, each of which was edited today, and what was closed before that."""
    with database(server, owner, publication) as dsn:
        books = Books(dsn)
        books.merge("company/companies", *({"id": own, "name": f"c{own}"} for own in range(1, 10)))
        books.merge("finance/currencies", {"id": 1, "name": "USD"}, {"id": 2, "name": "EUR"})
        cycles = {1: "Monthly", 2: "Yearly"}
        books.merge(
            "finance/billingCycles",
            *({"id": own, "name": name, "billingOptions": name} for own, name in cycles.items()),
        )
        for own in AMOUNTS:
            books.agreement(own)
        books.addition(2, "1867.75")
        books.addition(3, "953.85")
        before = books.closed()
        books.ran_before = books.running()
        books.agreement(1, billingCycle={"id": 2}, billAmount=Decimal("65387.64"))
        books.delete(ADDITIONS, 1, 2)
        books.addition(3, "953.85", billCustomer="DoNotBill")
        books.delete(AGREEMENTS, 4)
        books.agreement(5, company={"id": 8})
        books.agreement(6, currency={"id": 2})
        books.agreement(7, billAmount=Decimal(400))
        yield books, before


def test_seven_edits_of_today_leave_closed_months_alone(
    seven_edits: tuple[Books, list[dict[str, Any]]],
) -> None:
    books, before = seven_edits
    assert sum(row["mrr"] for row in before if row["month"] == CLOSED) == sum(
        map(Decimal, [*AMOUNTS.values(), "1867.75", "953.85"])
    )
    assert {row["basis"] for row in before} == {"as restated"}, "they are older than the warehouse"
    assert books.closed() == before
    _tracked_since(books.dsn, CLOSED - timedelta(days=90))
    after = books.closed()
    assert {row["basis"] for row in after if row["month"] >= CLOSED} == {"as recorded"}
    assert [row | {"basis": ""} for row in after] == [row | {"basis": ""} for row in before]


def test_seven_edits_of_today_leave_months_of_agreements_alone(
    seven_edits: tuple[Books, list[dict[str, Any]]],
) -> None:
    books, _ = seven_edits
    assert {row["agreement_id"] for row in books.ran_before if row["is_running"]} == {*AMOUNTS}
    assert books.running() == books.ran_before
    this_month = books.ask(
        "select agreement_id, company_id, is_running from reporting.fct_agreement_month"
        " where month = %s and agreement_id in (4, 5) order by 1",
        THIS_MONTH,
    )
    assert [tuple(row.values()) for row in this_month] == [(4, 4, True), (5, 8, True)]


def test_today_s_records_about_a_closed_month_are_shown_beside(
    seven_edits: tuple[Books, list[dict[str, Any]]],
) -> None:
    books, _ = seven_edits
    shown = books.ask(
        "select currency_id, sum(mrr_restated) as restated, sum(mrr_correction) as correction"
        " from reporting.kpi_mrr_month where month = %s group by 1",
        CLOSED,
    )
    lost = Decimal("1867.75") + Decimal("953.85") + Decimal("7675.46") - 100
    moved = Decimal("6886.92")
    assert {row["currency_id"]: row["correction"] for row in shown} == {1: -lost - moved, 2: moved}


def test_each_edit_is_the_movement_that_it_is(
    seven_edits: tuple[Books, list[dict[str, Any]]],
) -> None:
    books, _ = seven_edits
    found = {
        key: {name: row[name] for name in row if name.startswith("mrr_") and row[name]}
        for key, row in books.moves().items()
    }
    amounts = {own: Decimal(amount) for own, amount in AMOUNTS.items()}

    def moved(own: tuple[int, int]) -> dict[str, Decimal]:
        usual = ("mrr_before", "mrr_restated", "mrr_correction")
        return {name: amount for name, amount in found[own].items() if name not in usual}

    assert moved((1, 1)) == {}, "another cycle at the same price"
    assert books.moves()[1, 1]["agreements_retermed"] == 1
    assert moved((2, 1)) == {"mrr_contraction": Decimal("-1867.75")}
    assert moved((3, 1)) == {"mrr_contraction": Decimal("-953.85")}
    assert moved((4, 1)) == {"mrr_churn": -amounts[4]}
    assert moved((5, 1)) == {"mrr_transfer": -amounts[5]}
    assert moved((8, 1)) == {"mrr_transfer": amounts[5]}
    assert moved((6, 1)) == {"mrr_currency": -amounts[6]}
    assert moved((6, 2)) == {"mrr_currency": amounts[6]}
    assert moved((7, 1)) == {"mrr_expansion": 100}


def test_movements_lead_from_each_month_to_the_next_to_the_cent(
    seven_edits: tuple[Books, list[dict[str, Any]]],
) -> None:
    books, _ = seven_edits
    wrong = books.ask(
        "select * from reporting.kpi_mrr_month where mrr <> mrr_before + mrr_new + mrr_reactivation"
        " + mrr_expansion + mrr_contraction + mrr_churn + mrr_transfer + mrr_currency"
    )
    assert wrong == []
    totals = books.ask(
        "select currency_id, month, sum(mrr) as mrr, sum(mrr_before) as before"
        " from reporting.kpi_mrr_month group by 1, 2"
    )
    closing = {(row["currency_id"], row["month"]): row["mrr"] for row in totals}
    for row in totals:
        before = (row["month"] - timedelta(days=1)).replace(day=1)
        assert row["before"] == closing.get((row["currency_id"], before), 0)


def test_what_comes_in_before_a_month_is_closed_counts_in_it_and_later_not(
    seven_edits: tuple[Books, list[dict[str, Any]]],
) -> None:
    """The month closes on day 5 of the next one."""
    books, _ = seven_edits
    _tracked_since(books.dsn, CLOSED - timedelta(days=90))
    start = f"{CLOSED + timedelta(days=14)}T00:00:00Z"
    books.agreement(21, company={"id": 9}, startDate=start, entered=LAST_MONTH + timedelta(days=2))
    books.agreement(22, company={"id": 9}, startDate=start, entered=LAST_MONTH + timedelta(days=9))
    rows = books.ask(
        "select agreement_id, month, mrr, mrr_restated from reporting.fct_mrr_month"
        " where agreement_id in (21, 22) and month in (%s, %s) order by 1, 2",
        CLOSED,
        LAST_MONTH,
    )
    assert [tuple(row.values()) for row in rows] == [
        (21, CLOSED, 50, 50),
        (21, LAST_MONTH, 50, 50),
        (22, CLOSED, 0, 50),
        (22, LAST_MONTH, 50, 50),
    ]
    of_client = books.ask(
        "select mrr_new, mrr_expansion from reporting.kpi_mrr_month where company_id = 9"
        " and month in (%s, %s) order by month",
        CLOSED,
        LAST_MONTH,
    )
    assert [tuple(row.values()) for row in of_client] == [(50, 0), (0, 50)]
    publish(books.dsn, "connectwise", ZONE, month_closes_on=0)
    at_once = books.ask(
        "select mrr from reporting.fct_mrr_month where agreement_id = 21 and month = %s", CLOSED
    )
    assert at_once == [{"mrr": 0}]
    publish(books.dsn, "connectwise", ZONE)


def test_a_client_that_comes_back_is_no_new_one(
    seven_edits: tuple[Books, list[dict[str, Any]]],
) -> None:
    books, _ = seven_edits
    ended = f"{CLOSED - timedelta(days=40)}T00:00:00Z"
    books.agreement(31, company={"id": 9}, endDate=ended, noEndingDateFlag=False)
    books.agreement(32, company={"id": 7}, endDate=ended, noEndingDateFlag=False)
    rows = books.ask(
        "select mrr_new, mrr_reactivation, mrr_expansion from reporting.kpi_mrr_month"
        " where company_id = 9 and month = %s",
        CLOSED,
    )
    assert [tuple(row.values()) for row in rows] == [(0, 50, 0)]
