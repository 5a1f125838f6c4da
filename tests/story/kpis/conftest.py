"""A seeded tenant, synced once for all of these stories, with the cases that reports get wrong.

What reports must show is worked out here from the tenant's own records, by other means than SQL.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row

from cw_pipeline.catalog import CATALOG, select
from cw_pipeline.pipeline import Pipeline
from cw_pipeline.reporting import publish, refresh
from cw_pipeline.settings import Settings
from cw_pipeline.simulator import CLIENT_ID, Simulator, Tenant
from cw_pipeline.simulator.seed import seed_tenant
from cw_pipeline.simulator.tenant import iso
from cw_pipeline.sync.entity_sync import SyncRequest, sync_entities
from cw_pipeline.sync.reconcile import reconcile_all
from tests.conftest import _database as database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.conftest import Owner, Server

ZONE = "America/New_York"
TICKETS, TIME = "/service/tickets", "/time/entries"
AGREEMENTS, INVOICES = "/finance/agreements", "/finance/invoices"
_CHANGED = (
    "service/tickets",
    "time/entries",
    "finance/agreements",
    "finance/invoices",
    "system/members",
    "company/companies",
    "sales/opportunities",
)


@dataclass
class Books:
    """The warehouse and the truth it must agree with. `watched` is when the first sync was done."""

    dsn: str
    tenant: Tenant
    watched: datetime
    reopened: int = 0
    moved: dict[str, int] = field(default_factory=dict)
    raised: tuple[int, Decimal] = (0, Decimal())
    deleted: dict[str, int] = field(default_factory=dict)
    promoted: tuple[int, int] = (0, 0)
    """An opportunity that went to another stage today, and the stage that it came from."""

    def view(self, name: str, where: str = "") -> list[dict[str, Any]]:
        """The rows of a view."""
        return self.ask(f"select * from reporting.{name} {where}")  # noqa: S608 - ours

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What the warehouse answers."""
        with psycopg.connect(
            self.dsn, row_factory=dict_row, options="-c timezone=UTC"
        ) as connection:
            return connection.execute(query.encode()).fetchall()

    def records(self, path: str) -> list[dict[str, Any]]:
        """The truth: every record of a list, of all parents where it is a child's."""
        if "{" in path:
            return [record for each in self.tenant.children(path) for record in each]
        return list(self.tenant.records(path).values())

    def today(self) -> date:
        """The local day it is."""
        return datetime.now(UTC).astimezone(ZoneInfo(ZONE)).date()

    def service(self) -> list[dict[str, Any]]:
        """Service tickets that count: merged ones do not."""
        return [one for one in self.records(TICKETS) if "mergedParentTicket" not in one]

    def open_yesterday(self, one: dict[str, Any]) -> bool:
        """Whether a ticket was open at the end of yesterday, unless it was reopened only today."""
        today = self.today()
        is_open = not one["closedFlag"] or local(one["closedDate"]) >= today
        return is_open and one["id"] != self.reopened and local(one["_info"]["dateEntered"]) < today

    def entries_by_ticket(self) -> dict[int, list[dict[str, Any]]]:
        """Time entries by the ticket they are on."""
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in self.records(TIME):
            if "ticket" in entry:
                found[entry["ticket"]["id"]].append(entry)
        return found


def local(text: str) -> date:
    """The local day of an instant."""
    return datetime.fromisoformat(text).astimezone(ZoneInfo(ZONE)).date()


def day(text: str | None) -> date | None:
    """A business date, which is the same day everywhere."""
    return date.fromisoformat(text[:10]) if text else None


def money(value: Any) -> Decimal:
    """An exact amount."""
    return Decimal(str(value or 0))


def ref(record: dict[str, Any], name: str) -> int:
    """The id of a reference, -1 where there is none."""
    own: int = record.get(name, {}).get("id", -1)
    return own


def month(of: date) -> date:
    """The first day of its month."""
    return of.replace(day=1)


def following(first: date) -> date:
    """The first day of the month after."""
    return (first + timedelta(days=31)).replace(day=1)


def signed(invoice: dict[str, Any], name: str) -> Decimal:
    """An amount of an invoice: a credit memo's is negative, whichever way it was written."""
    amount = money(invoice[name])
    return -abs(amount) if invoice["type"] == "CreditMemo" else amount


def summed(
    records: Iterable[dict[str, Any]],
    key: Callable[[dict[str, Any]], Any],
    amount: Callable[[dict[str, Any]], Decimal],
) -> defaultdict[Any, Decimal]:
    """Amounts by key."""
    found: defaultdict[Any, Decimal] = defaultdict(Decimal)
    for record in records:
        found[key(record)] += amount(record)
    return found


def labour(entry: dict[str, Any]) -> Decimal:
    """What the hours of a time entry cost: they always name their cost here."""
    return money(entry["actualHours"]) * money(entry["hourlyCost"])


def near(shown: Any, true: Decimal | float, tolerance: str = "0.000001") -> bool:
    """Whether two amounts are the same but for the last digits of a division."""
    return shown is not None and abs(Decimal(shown) - Decimal(true)) < Decimal(tolerance)


def ratio(shown: Any, over: Decimal, under: Decimal) -> bool:
    """Whether a view shows one amount over another, and nothing if that is zero."""
    return near(shown, over / under) if under else shown is None


@pytest.fixture(scope="package")
def books(server: Server, owner: Owner, template: str) -> Iterator[Books]:
    """A tenant of 400 tickets after a first sync, a day of changes, and a second one."""
    tenant = seed_tenant(tickets=400, seed=11)
    holidays = next(iter(tenant.records("/schedule/holidayLists").values()))
    for calendar in tenant.records("/schedule/calendars"):
        tenant.edit("/schedule/calendars", calendar, holidayList=holidays)
    _write_a_credit_the_other_way_round(tenant)
    _forget_an_addition(tenant)
    _bill_an_expense(tenant)
    _spread_over_units(tenant)
    _round_hours_up(tenant)
    _cover_work_by_agreements(tenant)
    _carry_over_what_is_unused(tenant)
    _cancel_a_line(tenant)
    _forget_a_call(tenant)
    _run_a_silent_desk(tenant)
    product = next(iter(tenant.records("/procurement/products")))
    tenant.edit("/procurement/products", product, cancelledFlag=True)
    _let_invoices_be_due_at_the_edges(tenant)
    with database(server, owner, template) as dsn, Simulator(tenant) as simulator:
        settings = Settings(
            site=simulator.url,
            company="demo",
            public_key="public",
            private_key="private",
            client_id=CLIENT_ID,
            warehouse_dsn=dsn,
            requests_per_minute=1_000_000,
        )
        with Pipeline(settings) as front_door:
            engine = front_door.connect()
            _done(sync_entities(select(None), engine, SyncRequest()))
            publish(dsn, "connectwise", ZONE)
            told = Books(dsn, tenant, datetime.now(UTC))
            _live_a_day(told)
            changed = [CATALOG[name] for name in _CHANGED]
            _done(sync_entities(changed, engine, SyncRequest()))
            _done(reconcile_all(changed, engine, apply_deletes=True))
            _close_again(told)
            _done(sync_entities([CATALOG["service/tickets"]], engine, SyncRequest()))
        refresh(dsn, "connectwise")
        yield told


def _done(reports: Iterator[Any]) -> None:
    for report in reports:
        assert report.failure is None, report


def _write_a_credit_the_other_way_round(tenant: Tenant) -> None:
    """Some versions have credit memos with positive amounts."""
    memos = [one for one in tenant.records(INVOICES).values() if one["type"] == "CreditMemo"]
    fields = ("subtotal", "salesTax", "total", "balance", "agreementAmount", "serviceTotal")
    tenant.edit(INVOICES, memos[-1]["id"], **{name: abs(memos[-1][name]) for name in fields})


def _forget_an_addition(tenant: Tenant) -> None:
    """An agreement is cancelled, what was added to it is not: it ends all the same."""
    agreements = tenant.records(AGREEMENTS).values()
    cancelled = next(one for one in agreements if one["cancelledFlag"])
    addition = {
        "agreementId": cancelled["id"],
        "quantity": 3.0,
        "unitPrice": 40.0,
        "extPrice": 120.0,
        "extCost": 62.0,
        "billCustomer": "Billable",
        "effectiveDate": cancelled["startDate"],
    }
    tenant.put(f"{AGREEMENTS}/{cancelled['id']}/additions", {"id": 99_999, **addition})


def _bill_an_expense(tenant: Tenant) -> None:
    expenses = tenant.records("/expense/entries").values()
    billable = next(one for one in expenses if one["billableOption"] == "Billable")
    invoice = {"id": next(iter(tenant.records(INVOICES)))}
    tenant.edit("/expense/entries", billable["id"], invoice=invoice)


def _spread_over_units(tenant: Tenant) -> None:
    """Expenses and products of several departments and locations, some on no invoice."""
    for path in ("/expense/entries", "/procurement/products"):
        for at, own in enumerate(list(tenant.records(path))):
            unit = {"locationId": at % 3 + 1, "businessUnitId": at % 4 or None}
            named = {"location": None, "businessUnit": None} if "products" in path else {}
            forgotten = {"invoice": None, "billableOption": "Billable"} if at % 8 == 0 else {}
            tenant.edit(path, own, **unit, **named, **forgotten)


def _round_hours_up(tenant: Tenant) -> None:
    """What is billed is more than what was worked."""
    billable = [one for one in tenant.records(TIME).values() if one["hoursBilled"] > 0]
    for one in billable[::7]:
        hours = one["hoursBilled"] + 0.25
        amount = hours * one["hourlyRate"]
        tenant.edit(
            TIME, one["id"], hoursBilled=hours, invoiceHours=hours, extendedInvoiceAmount=amount
        )


def _cover_work_by_agreements(tenant: Tenant) -> None:
    """Of three hours an agreement covers all, of three a part; one is written off."""
    open_ = [
        one
        for one in tenant.records(TIME).values()
        if one["billableOption"] == "Billable"
        and "invoice" not in one
        and "agreement" in one
        and one["hoursBilled"] > 0
    ]
    for at, one in enumerate(open_[:7]):
        hours, rate = one["hoursBilled"], one["hourlyRate"]
        covered = hours if at < 3 else hours / 2
        left = hours - covered
        if at < 6:
            tenant.edit(
                TIME,
                one["id"],
                agreementHours=covered,
                agreementAmount=covered * rate,
                invoiceHours=left,
                extendedInvoiceAmount=left * rate,
            )
        else:
            tenant.edit(TIME, one["id"], status="WrittenOff")


def _carry_over_what_is_unused(tenant: Tenant) -> None:
    """Agreements that cover little a month; what is left of it lasts for ever, or 45 days."""
    running = [one for one in tenant.records(AGREEMENTS).values() if not one["cancelledFlag"]]
    for at, one in enumerate(running):
        lasts = {"carryOverUnused": at > 0, "expiredDays": 45 if at % 2 else None}
        limited = {"applicationUnlimitedFlag": False, "applicationLimit": 1.5 + at}
        tenant.edit(AGREEMENTS, one["id"], **lasts, **limited)
    for one in list(tenant.records(TIME).values()):
        if one["billableOption"] == "DoNotBill" and "agreement" in one:
            tenant.edit(TIME, one["id"], agreementHours=one["actualHours"])


def _cancel_a_line(tenant: Tenant) -> None:
    """A line of an order that is open: nobody waits for it any more."""
    orders = "/procurement/purchaseorders"
    own = max(tenant.records(orders))
    tenant.edit(orders, own, closedFlag=False)  # at some hours of the day none is open
    path = f"{orders}/{own}/lineitems"
    line = {"quantity": 4.0, "receivedQuantity": 1, "unitCost": 10.5, "extCost": 42.0}
    tenant.put(path, {"id": 99_998, "canceledFlag": True, **line})
    tenant.put(path, {"id": 99_999, "canceledFlag": False, "closedFlag": False, **line})


SILENT_DESK = 99
"""A board that closed 27 tickets, 20 of which it never answered; 9 more of it are open."""


def _run_a_silent_desk(tenant: Tenant) -> None:
    closed = [one for one in tenant.records(TICKETS).values() if one["closedFlag"]]
    like = next(one for one in closed if "mergedParentTicket" not in one)
    boards, stages = "/service/boards", ("NotResponded", "NoEscalation", "Resolved")
    tenant.put(boards, {"id": SILENT_DESK, "name": "Silent Desk", "projectFlag": False})
    for at, stage in enumerate(stages):
        status = {"id": 9900 + at, "name": stage, "escalationStatus": stage}
        status |= {"closedStatus": stage == "Resolved", "board": {"id": SILENT_DESK}}
        tenant.put(f"{boards}/{SILENT_DESK}/statuses", status)
    now = tenant.now()
    past, soon = now - timedelta(days=20), now - timedelta(hours=2)
    none = {"respondMinutes": 0, "resPlanMinutes": 0, "resolveMinutes": 0, "minutesWaiting": 0}
    course = ("dateResponded", "dateResplan", "dateResolved", "closedDate", "closedBy")
    course += ("respondByGoalUTC", "resplanGoalUTC", "resolutionGoalUTC")
    bare = {k: v for k, v in like.items() if k not in {"id", "_info", "owner", *course}} | none

    def put(at: int, entered: datetime, status: str, **moments: timedelta) -> None:
        own = bare | {name: iso(entered + each) for name, each in moments.items()}
        own["status"] = {"id": 9900 + stages.index(status), "name": status}
        own |= {"id": 990_000 + at, "board": {"id": SILENT_DESK, "name": "Silent Desk"}}
        own |= {"closedFlag": status == "Resolved", "isInSla": "dateResponded" in moments}
        own["_info"] = {"dateEntered": iso(entered)}
        tenant.put(TICKETS, own, stamp=entered + moments.get("closedDate", timedelta()))

    hour = timedelta(hours=1)
    ends = {"dateResolved": 5 * hour, "closedDate": 5 * hour}
    for at in range(27):
        goal = {} if at == 26 else {"respondByGoalUTC": hour}
        answer = {"dateResponded": hour / 2 if at < 5 else 2 * hour} if at < 6 else {}
        put(at, past, "Resolved", **ends, **goal, **answer)
    for at in range(3):
        put(100 + at, past, "NotResponded", respondByGoalUTC=hour)
    for at in range(2):
        put(110 + at, past, "NoEscalation", respondByGoalUTC=hour)
    for at, left in enumerate((0.5, 2, 6, 30)):
        put(120 + at, soon, "NotResponded", respondByGoalUTC=2 * hour + left * hour)


def _forget_a_call(tenant: Tenant) -> None:
    """Activities that should have been done long ago, and are open."""
    path = "/sales/activities"
    states = tenant.records(f"{path}/statuses").values()
    to_do = next(one for one in states if not one["closedFlag"])
    for own in list(tenant.records(path))[:3]:
        tenant.edit(path, own, status={"id": to_do["id"], "name": to_do["name"]}, closeFlag=False)


def _let_invoices_be_due_at_the_edges(tenant: Tenant) -> None:
    """Where one bucket of ages ends and the next begins."""
    owed = [one for one in tenant.records(INVOICES).values() if one["balance"] > 0]
    today = datetime.now(UTC).astimezone(ZoneInfo(ZONE)).date()
    for invoice, late in zip(owed[1:], (0, 1, 30, 31, 60, 61, 90, 91), strict=False):
        due = today - timedelta(days=late)
        tenant.edit(INVOICES, invoice["id"], dueDate=f"{due}T00:00:00Z")


def _live_a_day(books: Books) -> None:
    """A ticket reopened, one moved, an agreement raised; a ticket, time and an invoice deleted."""
    tenant = books.tenant
    tenant.advance(1)
    closed = [one for one in books.service() if one["closedFlag"]]
    still_open = [one for one in books.service() if not one["closedFlag"]]
    reopened, gone = closed[0], closed[1]
    states = {
        one["name"]: one
        for one in books.records(f"/service/boards/{ref(reopened, 'board')}/statuses")
    }
    status = states["Re-opened"]
    tenant.edit(
        TICKETS,
        reopened["id"],
        closedFlag=False,
        closedDate=None,
        status={"id": status["id"], "name": status["name"]},
    )
    books.reopened = reopened["id"]
    moved = still_open[0]
    books.moved = {"id": moved["id"], "board": ref(moved, "board"), "owner": ref(moved, "owner")}
    tenant.edit(
        TICKETS, moved["id"], board={"id": 5, "name": "Accounts"}, owner=None, resources=None
    )
    deals = "/sales/opportunities"
    deal = next(one for one in books.records(deals) if one["status"]["name"] == "Open")
    books.promoted = (deal["id"], ref(deal, "stage"))
    stages = [one for one in books.records("/sales/stages") if one["id"] != ref(deal, "stage")]
    tenant.edit(deals, deal["id"], stage={"id": stages[0]["id"], "name": stages[0]["name"]})
    agreement = next(one for one in books.records(AGREEMENTS) if not one["cancelledFlag"])
    books.raised = (agreement["id"], money(agreement["billAmount"]))
    tenant.edit(AGREEMENTS, agreement["id"], billAmount=agreement["billAmount"] + 1000)
    entry = next(
        one for one in books.records(TIME) if one.get("ticket", {}).get("id") == gone["id"]
    )
    invoice = next(one for one in books.records(INVOICES) if one["balance"] > 0)
    for path, own in (
        (TIME, entry["id"]),
        (TICKETS, gone["id"]),
        (INVOICES, invoice["id"]),
    ):
        tenant.delete(path, own)
        books.deleted[path] = own
    other = next(one for one in books.records(TIME) if "ticket" in one)
    # Written down on the wrong ticket, and put right.
    tenant.edit(TIME, other["id"], ticket={"id": moved["id"], "name": moved["summary"]})


def _close_again(books: Books) -> None:
    """The reopened ticket is closed for good."""
    tenant = books.tenant
    tenant.advance(2)
    ticket = tenant.get(TICKETS, books.reopened)
    states = {
        one["name"]: one
        for one in books.records(f"/service/boards/{ref(ticket, 'board')}/statuses")
    }
    status = states["Completed"]
    tenant.edit(
        TICKETS,
        books.reopened,
        closedFlag=True,
        closedDate=tenant.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        status={"id": status["id"], "name": status["name"]},
    )
