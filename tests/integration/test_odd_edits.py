"""Edits that leave something behind: amounts by currency, hours and days once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from cw_pipeline.reporting import facts, missing_dimension_rows, refresh
from tests.conftest import _database as database
from tests.integration.conftest import ZONE
from tests.integration.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server

NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.astimezone(ZoneInfo(ZONE)).date()
LAST_MONTH = (TODAY.replace(day=1) - timedelta(days=1)).replace(day=1)
USD, EUR = 1, 2
BY_CURRENCY = (
    "fct_mrr_month",
    "fct_time_entry",
    "fct_product",
    "fct_addition",
    "fct_opportunity_forecast",
    "fct_member_day",
    "kpi_unbilled",
)


def _at(moment: datetime) -> dict[str, str]:
    entered = NOW - timedelta(days=300)
    return {
        "lastUpdated": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "dateEntered": f"{entered:%Y-%m-%d}T12:00:00Z",
    }


class Edited(Ledger):
    """What a tenant's people did in the last hundred days."""

    def put(
        self, entity: str, days: int, *records: dict[str, Any], parent: int | None = None
    ) -> None:
        """Stores records that were changed last so many days ago."""
        info = {"_info": _at(NOW - timedelta(days=days))}
        self.merge(entity, *(record | info for record in records), parent_id=parent)

    def rows(self, view: str, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
        """Some columns of a view, in the order of the rows."""
        query = f"select {columns} from reporting.{view} where {where} order by {columns}"  # noqa: S608
        return [tuple(row.values()) for row in self.ask(query)]


def _ref(own: int) -> dict[str, int]:
    return {"id": own}


@pytest.fixture(scope="module")
def desk(server: Server, owner: Owner, publication: str) -> Iterator[Edited]:
    """One warehouse for all of these."""
    with database(server, owner, publication) as dsn:
        made = Edited(dsn)
        with psycopg.connect(dsn) as connection:
            connection.execute("update cw_sync.history_column set since = '2020-01-01'")
        made.put("finance/currencies", 200, {"id": USD, "name": "USD"}, {"id": EUR, "name": "EUR"})
        made.put("company/companies", 200, {"id": 1, "name": "Acme", "currency": _ref(USD)})
        monthly = {"id": 1, "name": "Monthly", "billingOptions": "Monthly"}
        made.put("finance/billingCycles", 200, monthly)
        _money(made)
        _work(made)
        _sales(made)
        refresh(dsn, "connectwise")
        yield made


def _money(made: Edited) -> None:
    made.put("finance/billingStatuses", 200, {"id": 1, "name": "Sent"}, {"id": 2, "name": "Void"})
    agreement: dict[str, Any] = {
        "id": 1,
        "company": _ref(1),
        "currency": _ref(USD),
        "billingCycle": _ref(1),
    }
    agreement |= {"startDate": f"{LAST_MONTH}T00:00:00Z", "noEndingDateFlag": True}
    made.put("finance/agreements", 90, agreement)
    added = {"id": 1, "extCost": 31.0, "effectiveDate": agreement["startDate"]}
    made.put("finance/agreements/additions", 90, added, parent=1)
    quarterly = {"id": 2, "name": "Quarterly", "billingOptions": "Quarterly"}
    made.put("finance/billingCycles", 200, quarterly)
    other = agreement | {"id": 3, "company": None, "billingCycle": _ref(2)}
    made.put("finance/agreements", 90, other)
    begins = {"effectiveDate": f"{LAST_MONTH + timedelta(days=9)}T00:00:00Z"}
    for own, price in enumerate((10.0, 10.0, -20.0), 1):
        priced = {"id": own, "extPrice": price, "billCustomer": "Billable", **begins}
        made.put("finance/agreements/additions", 90, priced, parent=3)
    ended = agreement | {"id": 2, "billAmount": 10.0, "startDate": "2024-01-15T00:00:00Z"}
    made.put("finance/agreements", 90, ended)
    made.put("finance/agreements", 40, ended | {"cancelledFlag": True})  # and no dateCancelled
    day = f"{LAST_MONTH + timedelta(days=4)}T00:00:00Z"
    bill = {"company": _ref(1), "status": _ref(1), "type": "Agreement", "agreement": _ref(1)}
    bill |= {"date": day, "dueDate": day}
    amounts = ((1, USD, 100.0), (2, USD, 50.0), (3, EUR, 70.0))
    for own, currency, amount in amounts:
        priced = {"subtotal": amount, "total": amount, "balance": 0.0, "currency": _ref(currency)}
        made.put("finance/invoices", 40, {"id": own, **bill, **priced})
    void = {"agreement": _ref(3), "project": _ref(1), "currency": _ref(EUR), "status": _ref(2)}
    made.put("finance/invoices", 40, {"id": 6, **bill, **void, "subtotal": 7.0, "total": 7.0})
    sent = {"id": 4, **bill, "agreement": None, "currency": _ref(USD), "balance": 9.0, "total": 9.0}
    sent |= {"subtotal": 9.0, "date": f"{LAST_MONTH - timedelta(days=70)}T00:00:00Z"}
    made.put("finance/invoices", 95, sent)
    made.put("finance/invoices", 0, sent | {"status": _ref(2)})
    ahead = f"{TODAY + timedelta(days=20)}T00:00:00Z"
    made.put(
        "finance/invoices", 1, sent | {"id": 5, "date": ahead, "company": None, "balance": 0.0}
    )


def _work(made: Edited) -> None:
    hired = f"{TODAY - timedelta(days=60)}T00:00:00Z"
    member = {"dailyCapacity": 8.0, "hourlyCost": 10.0, "hireDate": hired}
    made.put("system/members", 60, {"id": 1, **member}, {"id": 2, **member})
    project: dict[str, Any] = {"company": _ref(1), "currency": _ref(USD)}
    made.put("project/projects", 60, *({"id": own, **project} for own in (1, 2)))
    phases = "project/projects/phases"
    made.put(
        phases, 60, {"id": 11, "description": "Plan"}, {"id": 12, "description": "Gone"}, parent=1
    )
    entry: dict[str, Any] = {
        "member": _ref(1),
        "company": _ref(1),
        "project": _ref(1),
        "billableOption": "Billable",
    }
    worked = f"{NOW - timedelta(days=30):%Y-%m-%d}T15:00:00Z"
    entry |= {"chargeToType": "ProjectTicket", "timeStart": worked, "extendedInvoiceAmount": 20.0}
    phased = ((1, 2.0, _ref(11)), (2, 3.0, _ref(12)), (3, -1.0, None))
    for own, hours, phase in phased:
        made.put("time/entries", 30, {"id": own, "actualHours": hours, "phase": phase, **entry})
    made.put("time/entries", 30, {"id": 4, "actualHours": 5.0, **entry, "project": _ref(2)})
    ticket = {"project": _ref(1), "company": _ref(1), "closedFlag": False}
    made.put("project/tickets", 30, {"id": 1, "phase": _ref(11), **ticket}, {"id": 2, **ticket})
    made.delete(phases, 12, 1)
    spent: dict[str, Any] = {"company": _ref(1), "date": worked, "amount": 40.0}
    spent |= {"currency": _ref(EUR)}
    made.put("expense/entries", 30, {"id": 1, "project": _ref(2), **spent})
    made.delete("system/members", 1)
    closed = {
        "id": 7,
        "closedFlag": True,
        "closedDate": f"{NOW - timedelta(days=9):%Y-%m-%d}T12:00:00Z",
    }
    made.put("service/tickets", 9, closed)
    made.put("service/tickets", 3, closed | {"closedFlag": False})


def _sales(made: Edited) -> None:
    states = {1: "Open", 2: "Won"}
    made.put(
        "sales/opportunities/statuses",
        200,
        *(
            {"id": own, "name": name, "wonFlag": own == 2, "closedFlag": own == 2}
            for own, name in states.items()
        ),
    )
    lead = f"{NOW - timedelta(days=50):%Y-%m-%dT%H:%M:%SZ}"
    deal = {"company": _ref(1), "primarySalesRep": _ref(2), "dateBecameLead": lead}
    ended = f"{NOW - timedelta(days=20):%Y-%m-%dT%H:%M:%SZ}"
    made.put("sales/opportunities", 20, {"id": 1, **deal, "status": _ref(2), "closedDate": ended})
    # opened again, and the record keeps the date
    made.put("sales/opportunities", 10, {"id": 1, **deal, "status": _ref(1), "closedDate": ended})
    made.put("sales/opportunities", 5, {"id": 2, **deal, "status": _ref(2)})
    # closed, and nobody knows when
    made.merge("sales/opportunities", {"id": 3, **deal, "status": _ref(2)})


def test_an_invoice_that_is_void_since_is_owed_until_then(desk: Edited) -> None:
    months = desk.rows("fct_ar_month", "month", "invoice_id = 4")
    assert (LAST_MONTH,) in months
    assert (TODAY.replace(day=1),) not in months
    assert desk.rows("fct_ar", "invoice_id") == []


def test_sales_of_ninety_days_are_not_those_to_come(desk: Edited) -> None:
    assert desk.rows("kpi_dso", "currency_id, invoiced_90_days") == [(USD, 150), (EUR, 70)]


def test_an_agreement_that_is_invoiced_in_two_currencies_has_a_row_of_each(desk: Edited) -> None:
    shown = desk.rows(
        "kpi_agreement_month",
        "currency_id, is_running, revenue_billed, additions_cost, profit",
        f"agreement_id = 1 and month = '{LAST_MONTH}'",
    )
    assert shown == [(USD, True, 150, 31, 119), (EUR, False, 70, 0, 70)]
    client = desk.rows(
        "kpi_client_month",
        "currency_id, revenue, additions_cost, expense_cost",
        f"company_id = 1 and month = '{LAST_MONTH}'",
    )
    spent = 40 if (NOW - timedelta(days=30)).date().replace(day=1) == LAST_MONTH else 0
    assert client == [(USD, 150, 31, 0), (EUR, 70, 0, spent)]


def test_a_project_adds_up_no_two_currencies(desk: Edited) -> None:
    amounts = "project_id, revenue_worked, revenue_billed, expense_cost, labour_cost"
    assert desk.rows("fct_project", amounts) == [(1, 60, 0, 0, 40), (2, None, 0, None, 50)]
    assert desk.rows("kpi_project", "project_id, profit_worked") == [(1, 20), (2, None)]
    counted = desk.rows(
        "kpi_data_readiness",
        "affected, total",
        "check_name = 'projects with amounts in several currencies'",
    )
    assert counted == [(1, 2)]


def test_a_void_invoice_makes_no_row_of_its_currency(desk: Edited) -> None:
    invoiced = desk.rows("fct_agreement_month", "currency_id, revenue_billed", "agreement_id = 3")
    assert {*invoiced} == {(USD, 0)}
    counted = desk.rows(
        "kpi_data_readiness",
        "affected, total",
        "check_name = 'invoices in another currency than their agreement'",
    )
    assert counted == [(1, 3)]


def test_amounts_in_a_currency_that_is_not_listed_are_in_the_unknown_one(
    server: Server, owner: Owner, publication: str
) -> None:
    """The list may be one that the API member may not read."""
    with database(server, owner, publication) as dsn:
        made = Edited(dsn)
        of: dict[str, Any] = {"company": _ref(1), "agreement": _ref(1), "currency": _ref(9)}
        day = f"{LAST_MONTH}T00:00:00Z"
        made.put("company/companies", 60, {"id": 1, "name": "Acme", "currency": _ref(9)})
        made.put("system/members", 60, {"id": 1, "hourlyCost": 10.0, "hireDate": day})
        begun = {"startDate": day, "noEndingDateFlag": True, "billAmount": 10.0}
        begun["billingCycle"] = _ref(9)  # nor is it listed
        made.put("finance/agreements", 60, {"id": 1, **of, **begun})
        added = {"id": 1, "extCost": 31.0, "effectiveDate": day}
        made.put("finance/agreements/additions", 60, added, parent=1)
        entry = {"id": 1, "member": _ref(1), "actualHours": 2.0, "billableOption": "Billable"}
        entry |= {"timeStart": f"{LAST_MONTH}T12:00:00Z", "extendedInvoiceAmount": 20.0}
        made.put("time/entries", 30, entry | of)
        made.put("expense/entries", 30, {"id": 1, "date": day, "amount": 4.0} | of)
        sold = {"id": 1, "billableOption": "Billable", "extPrice": 9.0, "extCost": 5.0}
        made.put("procurement/products", 30, sold | of | {"purchaseDate": day})
        billed = {"id": 1, "date": day, "subtotal": 99.0, "total": 99.0, "balance": 99.0}
        made.put("finance/invoices", 30, billed | of)
        deal = {"id": 1, "company": _ref(1), "currency": _ref(9)}
        made.put("sales/opportunities", 30, deal)
        likely = {"id": 1, "currency": _ref(9), "forecastItems": [{"id": 1, "revenue": 5.0}]}
        made.put("sales/opportunities/forecast", 30, likely, parent=1)
        for own in (-1, 9):
            if own > 0:
                made.put("finance/currencies", 0, {"id": own, "name": "CHF"})
            refresh(dsn, "connectwise")
            lost = {fact: missing_dimension_rows(dsn, "connectwise", fact) for fact in facts()}
            assert not any(lost.values()), lost
            month = f"month = '{LAST_MONTH}'"
            profit = 99 - 31 - 20 - 4 - 5
            client = made.rows("kpi_client_month", "currency_id, revenue, profit", month)
            assert client == [(own, 99, profit)]
            agreement = made.rows("kpi_agreement_month", "currency_id, revenue_billed", month)
            assert agreement == [(own, 99)]
            for view in BY_CURRENCY:
                assert {row[0] for row in made.rows(view, "currency_id")} == {own}, view


def test_phases_of_a_project_add_up_to_it(desk: Edited) -> None:
    shown = desk.rows("kpi_project_phase", "project_id, phase_id, hours_actual, tickets")
    assert shown == [(1, -1, 2, 1), (1, 11, 2, 1), (2, -1, 5, 0)]
    assert desk.rows("kpi_project", "project_id, hours_actual") == [(1, 4), (2, 5)]


def test_hours_and_capacity_of_a_member_stay_when_the_record_is_deleted(desk: Edited) -> None:
    worked = (NOW - timedelta(days=30)).date()
    days = {
        row[0]: row[1:]
        for row in desk.rows(
            "fct_member_day", "date, hours_actual, hours_capacity", "member_id = 1"
        )
    }
    assert days[worked] == (9, 8 if worked.weekday() < 5 else 0)
    assert (min(days), max(days)) == (TODAY - timedelta(days=60), TODAY - timedelta(days=1))
    assert desk.rows("dim_member", "left_on", "member_id = 1") == [(TODAY,)]
    weeks = sum(row[0] for row in desk.rows("kpi_member_week", "hours_actual"))
    assert weeks == sum(row[0] for row in desk.rows("kpi_work_month", "hours_actual")) == 9


def test_what_is_open_again_is_not_closed_whatever_date_its_record_keeps(desk: Edited) -> None:
    shown = "ticket_id, is_closed, closed_at, closed_date, closed_date_id"
    assert desk.rows("fct_ticket", shown, "ticket_id = 7") == [(7, False, None, None, -1)]
    (deal,) = desk.ask("select * from reporting.fct_opportunity where opportunity_id = 1")
    assert deal["is_open"]
    assert deal["closed_at"] is None
    assert abs(deal["age_days"] - 50) < Decimal("0.1"), "until now, not until it was closed once"


def test_a_deal_closed_without_a_date_is_closed_at_its_last_change(desk: Edited) -> None:
    closed = (NOW - timedelta(days=5)).astimezone(ZoneInfo(ZONE)).date()
    won = desk.rows("kpi_sales_month", "member_id, month, opportunities_won")
    assert won == [(2, closed.replace(day=1), 1)]
    open_until = desk.rows("fct_opportunity_daily_all", "max(date)", "opportunity_id = 2")
    assert open_until == [(closed - timedelta(days=1),)]
    assert not desk.rows("fct_opportunity_daily_all", "date", "opportunity_id = 3"), "nor until now"
    counted = desk.rows(
        "kpi_data_readiness",
        "affected, total",
        "check_name = 'closed opportunities without a closing date'",
    )
    assert counted == [(2, 2)]
    ages = desk.rows("fct_opportunity", "opportunity_id, changed_at = now()")
    assert ages == [(1, True), (2, False), (3, True)], "of those whose age grows"


def test_an_agreement_cancelled_without_a_date_is_cancelled_at_its_last_change(
    desk: Edited,
) -> None:
    ended = (NOW - timedelta(days=40)).astimezone(ZoneInfo(ZONE)).date()
    last = (ended.replace(day=1) - timedelta(days=1)).replace(day=1)
    assert desk.rows("dim_agreement", "cancelled_on", "agreement_id = 2") == [(ended,)]
    recurring = "agreement_id = 2 and mrr > 0 and mrr_restated > 0"
    assert desk.rows("fct_mrr_month", "max(month)", recurring) == [(last,)]
    ran = desk.rows("fct_agreement_month", "max(month)", "agreement_id = 2 and is_running")
    assert ran == [((ended - timedelta(days=1)).replace(day=1),)]


def test_what_is_taken_back_leaves_nothing_of_a_month(desk: Edited) -> None:
    """Two thirds, and two times a third, of the days of a month differ in their last digit."""
    month = f"agreement_id = 3 and month = '{LAST_MONTH}'"
    assert desk.rows("fct_agreement_month", "additions_price", month) == [(0,)]


def test_revenue_by_member_is_back_when_no_client_is_left_that_had_another_currency(
    server: Server, owner: Owner, publication: str
) -> None:
    """Both no currency and several are -1: the first has revenue, the second none."""
    shown = []
    with database(server, owner, publication) as dsn:
        made = Edited(dsn)
        hired = f"{TODAY - timedelta(days=3)}T00:00:00Z"
        made.put("finance/currencies", 60, {"id": USD, "name": "USD"}, {"id": EUR, "name": "EUR"})
        made.put("system/members", 60, {"id": 1, "dailyCapacity": 8.0, "hireDate": hired})
        for currencies in ((USD, EUR), (), (EUR, USD)):
            for own, currency in enumerate(currencies, 1):
                made.merge("company/companies", {"id": own, "currency": _ref(currency)})
            refresh(dsn, "connectwise")
            shown.append({*made.rows("fct_member_day", "currency_id, revenue")})
            for own, _ in enumerate(currencies, 1):
                made.delete("company/companies", own)
    assert shown == [{(-1, None)}, {(-1, 0)}, {(-1, None)}]
