"""Calls, devices and purchases: what is overdue, without warranty, or has not come yet."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.story.kpis.conftest import day, local, money, month, near, ref

if TYPE_CHECKING:
    from tests.story.kpis.conftest import Books

ACTIVITIES, ORDERS = "/sales/activities", "/procurement/purchaseorders"


def bucket(days: int, *limits: tuple[int, str]) -> str:
    """The first bucket that holds so many days."""
    return next(name for limit, name in limits if days <= limit)


def test_activities_are_counted_by_who_has_them_and_the_local_month(books: Books) -> None:
    members = {one["id"] for one in books.records("/system/members")}
    closing = {one["id"]: one["closedFlag"] for one in books.records(f"{ACTIVITIES}/statuses")}
    made: Counter[Any] = Counter()
    done: Counter[Any] = Counter()
    late: Counter[Any] = Counter()
    about = defaultdict(set)
    for one in books.records(ACTIVITIES):
        who = ref(one, "assignTo")
        key = (who if who in members else -1, month(local(one["dateStart"])))
        is_closed = closing[ref(one, "status")]
        made[key] += 1
        done[key] += is_closed
        past = datetime.fromisoformat(one["dateEnd"]) < datetime.now(UTC)
        late[key] += past and not is_closed
        if "opportunity" in one:
            about[key].add(ref(one, "opportunity"))
    shown = {(row["member_id"], row["month"]): row for row in books.view("kpi_activity_month")}
    assert set(shown) == set(made)
    assert late.total()
    for key, row in shown.items():
        assert row["activities"] == made[key]
        assert row["activities_closed"] == done[key]
        assert row["activities_overdue"] == late[key]
        assert row["opportunities"] == len(about[key])


def test_devices_run_out_of_warranty_by_days_from_today(books: Books) -> None:
    limits = ((-1, "expired"), (30, "0-30"), (90, "31-90"), (365, "91-365"), (10**6, "366+"))
    true: Counter[Any] = Counter()
    ages = defaultdict(list)
    for one in books.records("/company/configurations"):
        if one["activeFlag"]:
            ends = day(one.get("warrantyExpirationDate"))
            state = bucket((ends - books.today()).days, *limits) if ends else "unknown"
            key = (ref(one, "company"), one["type"]["name"], state)
            true[key] += 1
            ages[key].append((books.today() - (day(one["purchaseDate"]) or date.max)).days)
    names = ("company_id", "configuration_type", "warranty_ends_in")
    rows = {tuple(row[name] for name in names): row for row in books.view("kpi_warranty")}
    assert {key: row["configurations"] for key, row in rows.items()} == true
    assert len({state for _, _, state in true}) > 2
    for key, row in rows.items():
        days = Decimal(sum(ages[key])) / len(ages[key])
        assert near(row["average_age_years"], days / Decimal("365.25"))


def test_orders_are_open_by_what_has_not_come_of_lines_that_nobody_cancelled(books: Books) -> None:
    limits = ((7, "0-7"), (30, "8-30"), (90, "31-90"), (10**6, "91+"))
    orders = {one["id"]: one for one in books.records(ORDERS)}
    cost: dict[Any, Decimal] = defaultdict(Decimal)
    lines: Counter[Any] = Counter()
    for own, order in orders.items():
        for one in books.tenant.records(f"{ORDERS}/{own}/lineitems").values():
            missing = money(one["quantity"]) - one["receivedQuantity"]
            if order["closedFlag"] or one["canceledFlag"] or not missing:
                continue
            age = (books.today() - (day(order["poDate"]) or date.min)).days
            key = (ref(order, "vendorCompany"), bucket(age, *limits))
            cost[key] += missing * money(one["unitCost"])
            lines[key] += 1
    rows = {(row["vendor_id"], row["age_bucket"]): row for row in books.view("kpi_purchase_order")}
    assert {key: row["cost_open"] for key, row in rows.items()} == cost
    assert {key: row["lines"] for key, row in rows.items()} == lines
