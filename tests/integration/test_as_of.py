"""The reporting schema as of a moment is what it showed at that moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG
from cw_pipeline.errors import WarehouseError
from cw_pipeline.reporting import fill_as_of, hide_in_as_of, refresh
from cw_pipeline.reporting.script import scripts
from cw_pipeline.transform.mask import MaskingRules
from cw_pipeline.warehouse import Database
from cw_pipeline.warehouse.private_columns import mask_stored_rows
from tests.conftest import _database as database
from tests.integration.ledger import Ledger
from tests.integration.others import as_admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Owner, Server

PRESENT = {"freshness", "kpi_data_readiness"}
"""What is about the warehouse of today, whatever the moment."""

PASSING = {
    "synced_at",
    "changed_at",
    "calendar_minutes",
    "days_untouched",
    "age_hours",
    "open_hours",
    "hours_left",
    "minutes_left",
}
"""Columns that differ a second later, or say when this warehouse read something."""


def at(moment: datetime) -> dict[str, Any]:
    """What a record says of itself."""
    return {"lastUpdated": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "dateEntered": "2026-01-05T10:00:00Z"}


def fill(books: Ledger, moment: datetime) -> None:
    """A little of everything that has versions."""
    info = at(moment)
    books.merge("company/companies", *({"id": own, "name": f"c{own}"} for own in (1, 2, 3)))
    books.merge("finance/currencies", {"id": 1, "name": "USD"})
    books.merge("service/boards", {"id": 1, "name": "Help"}, {"id": 2, "name": "Desk"})
    books.merge("finance/billingCycles", {"id": 1, "name": "M", "billingOptions": "Monthly"})
    books.merge("system/members", *({"id": own, "identifier": f"m{own}"} for own in (1, 2)))
    began = f"{moment - timedelta(days=40):%Y-%m-%d}T00:00:00Z"
    books.merge(
        "finance/agreements",
        *(
            {
                "id": own,
                "company": {"id": own},
                "currency": {"id": 1},
                "billingCycle": {"id": 1},
                "billAmount": 100.0 * own,
                "startDate": began,
                "noEndingDateFlag": True,
                "_info": info,
            }
            for own in (1, 2, 3)
        ),
    )
    addition = {"id": 1, "extPrice": 10.0, "billCustomer": "Billable", "_info": info}
    books.merge("finance/agreements/additions", addition, parent_id=1)
    books.merge(
        "service/tickets",
        *(
            {
                "id": own,
                "summary": f"t{own}",
                "company": {"id": 1},
                "board": {"id": 1},
                "closedFlag": False,
                "_info": info,
            }
            for own in (1, 2, 3, 4)
        ),
    )
    books.merge(
        "time/entries",
        *(
            {
                "id": own,
                "ticket": {"id": own},
                "member": {"id": 1},
                "actualHours": 2.0,
                "timeStart": began,
                "_info": info,
            }
            for own in (1, 2, 3)
        ),
    )
    invoice = {"id": 1, "date": began, "dueDate": began, "total": 50.0, "balance": 50.0}
    invoice |= {"company": {"id": 1}, "currency": {"id": 1}, "type": "Standard", "_info": info}
    books.merge("finance/invoices", invoice)


def edit(books: Ledger, moment: datetime) -> None:
    """Changes, moves, deletes, a return, and what is new."""
    info = at(moment)
    new = {"lastUpdated": info["lastUpdated"], "dateEntered": info["lastUpdated"]}
    closed = {"closedFlag": True, "closedDate": info["lastUpdated"]}
    ticket = {"summary": "edited", "company": {"id": 2}, "board": {"id": 2}, "closedFlag": False}
    books.merge("service/tickets", {"id": 1, **ticket, **closed, "_info": info})
    books.merge("company/companies", {"id": 1, "name": "renamed", "_info": info})
    books.merge("system/members", {"id": 2, "identifier": "other", "_info": info})
    books.delete("service/tickets", 2)
    books.delete("service/tickets", 3)
    books.merge("service/tickets", {"id": 3, **ticket, "_info": info})
    books.merge("service/tickets", {"id": 9, **ticket, "_info": new})
    entry = {"member": {"id": 2}, "ticket": {"id": 4}, "actualHours": 5.0}
    entry |= {"timeStart": info["lastUpdated"], "_info": info}
    added = {**entry, "id": 9, "dateEntered": info["lastUpdated"]}
    books.merge("time/entries", {"id": 1, **entry}, added)
    books.delete("time/entries", 2)
    books.delete("finance/agreements", 3)
    books.merge("finance/agreements", {"id": 1, "billAmount": 7.0, "_info": info})
    books.delete("finance/agreements/additions", 1, 1)
    books.merge("finance/invoices", {"id": 1, "total": 50.0, "balance": 0.0, "_info": info})


def content(dsn: str, schema: str) -> dict[str, list[str]]:
    """Every row of every report, without what passes."""
    found = {}
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        connection.execute("set timezone to 'UTC'")
        for script in scripts():
            if script.name not in PRESENT:
                rows = connection.execute(f"select * from {schema}.{script.name}".encode())  # noqa: S608
                found[script.name] = sorted(
                    repr([(name, row[name]) for name in sorted(row) if name not in PASSING])
                    for row in rows
                )
    return found


def difference(before: dict[str, list[str]], then: dict[str, list[str]]) -> dict[str, Any]:
    """A row that only one of the two has, of each report that differs."""
    return {
        name: (sorted({*rows} - {*then[name]})[:1], sorted({*then[name]} - {*rows})[:1])
        for name, rows in before.items()
        if then[name] != rows
    }


@pytest.fixture(scope="module")
def edited(
    server: Server, owner: Owner, publication: str
) -> Iterator[tuple[str, datetime, dict[str, list[str]]]]:
    """A warehouse, a moment, and what the reports showed at that moment, before edits."""
    with database(server, owner, publication) as dsn:
        books = Ledger(dsn)
        fill(books, datetime.now(UTC) - timedelta(hours=2))
        refresh(dsn, "connectwise")
        before = content(dsn, "reporting")
        moment = datetime.now(UTC)
        edit(books, moment + timedelta(seconds=2))
        refresh(dsn, "connectwise")
        yield dsn, moment, before


def test_every_report_is_what_it_was(edited: tuple[str, datetime, dict[str, list[str]]]) -> None:
    dsn, moment, before = edited
    after = content(dsn, "reporting")
    changed = {name for name, rows in before.items() if after[name] != rows}
    assert changed >= {
        "dim_company",
        "fct_ticket",
        "fct_time_entry",
        "fct_mrr_month",
        "kpi_mrr_month",
        "fct_ar",
    }
    assert fill_as_of(dsn, "connectwise", moment) == len(scripts())
    then = content(dsn, "reporting_asof")
    assert difference(before, then) == {}
    (shown,) = Ledger(dsn).ask("select as_of from reporting_asof.as_of")
    assert shown == {"as_of": moment}


def test_past_days_of_the_backlog_stay_whatever_is_edited_today(
    edited: tuple[str, datetime, dict[str, list[str]]],
) -> None:
    """Tickets were closed, moved, deleted and brought back since."""
    dsn, _, before = edited
    assert len(before["fct_ticket_daily"]) > 100
    assert content(dsn, "reporting")["fct_ticket_daily"] == before["fct_ticket_daily"]


def test_it_may_be_called_in_sql_again_and_again_and_in_one_transaction(
    edited: tuple[str, datetime, dict[str, list[str]]],
) -> None:
    dsn, moment, before = edited
    with psycopg.connect(dsn) as connection:
        connection.execute("select reporting.as_of(now())")
        connection.execute("select reporting.as_of(%s)", [moment])
    then = content(dsn, "reporting_asof")
    assert difference(before, then) == {}


def test_a_moment_that_lies_ahead_is_refused(
    edited: tuple[str, datetime, dict[str, list[str]]],
) -> None:
    with pytest.raises(WarehouseError, match="lies ahead"):
        fill_as_of(edited[0], "connectwise", datetime.now(UTC) + timedelta(days=1))


def test_what_becomes_private_is_hidden_there_too(
    server: Server, owner: Owner, publication: str, caplog: pytest.LogCaptureFixture
) -> None:
    with database(server, owner, publication) as dsn, Database(dsn, "connectwise") as warehouse:
        books = Ledger(dsn)
        books.merge("company/companies", {"id": 1, "name": "Acme"})
        moment = datetime.now(UTC)
        books.merge("company/companies", {"id": 1, "name": "Acme Ltd"})
        fill_as_of(dsn, "connectwise", moment)
        shown = "select company_name, as_of from reporting_asof.dim_company, reporting_asof.as_of"
        named = f"{shown} where company_id = 1"
        assert books.ask(named) == [{"company_name": "Acme", "as_of": moment}]
        with psycopg.connect(dsn) as connection:
            connection.execute("create view public.mine as table reporting_asof.dim_company")
            connection.execute("grant select on reporting_asof.dim_member to public")
        rules = MaskingRules.of(None, "company/companies.name", None)
        mask_stored_rows(warehouse, [CATALOG["company/companies"]], rules)
        with psycopg.connect(dsn) as reader:
            reader.execute("select from reporting_asof.dim_board")
            assert not hide_in_as_of(warehouse.transaction, "connectwise")
        assert "the next sync fills it anew" in caplog.text
        assert hide_in_as_of(warehouse.transaction, "connectwise")
        assert books.ask(named) == [{"company_name": None, "as_of": moment}]
        assert books.ask("select company_name from public.mine where company_id = 1") == [
            {"company_name": None}
        ]
        granted = "select has_table_privilege('public', %s, 'select') as it"
        assert books.ask(granted, "reporting_asof.dim_member") == [{"it": True}]
        assert not hide_in_as_of(warehouse.transaction, "connectwise"), "it is hidden"
        caplog.clear()
        as_admin(
            server,
            dsn,
            "update reporting_asof.as_of set made_at = '-infinity'",
            "alter schema reporting_asof owner to current_user",
        )
        assert not hide_in_as_of(warehouse.transaction, "connectwise")
        assert "may show" not in caplog.text, "what may not be read is nothing to warn of"
