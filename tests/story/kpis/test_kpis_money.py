"""Agreements, clients, receivables, sales, projects: sums are those of the tenant's records."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from statistics import mean
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.story.kpis.conftest import (
    AGREEMENTS,
    INVOICES,
    TICKETS,
    TIME,
    day,
    following,
    labour,
    local,
    money,
    month,
    near,
    ratio,
    ref,
    signed,
    summed,
)

if TYPE_CHECKING:
    from tests.story.kpis.conftest import Books

Amounts: TypeAlias = "defaultdict[Any, Decimal]"
PRODUCTS, EXPENSES = "/procurement/products", "/expense/entries"
PROJECT = "/project/tickets"
MONTHS = {"Monthly": 1, "Quarterly": 3, "SemiAnnual": 6, "Yearly": 12}


def known(text: str) -> date:
    """A business date that is there."""
    return day(text) or date.min


def amounts() -> Amounts:
    return defaultdict(Decimal)


def months_per_bill(books: Books, agreement: dict[str, Any]) -> int:
    cycles = {one["id"]: one for one in books.records("/finance/billingCycles")}
    return MONTHS[cycles[ref(agreement, "billingCycle")]["billingOptions"]]


def last_day(agreement: dict[str, Any], until: date) -> date:
    """The last day on which an agreement runs, not beyond `until`."""
    ends = [until]
    if not agreement["noEndingDateFlag"] and "endDate" in agreement:
        ends.append(day(agreement["endDate"]) or until)
    if agreement["cancelledFlag"]:
        ends.append((day(agreement["dateCancelled"]) or until) - timedelta(days=1))
    return min(ends)


def additions(books: Books) -> dict[int, list[dict[str, Any]]]:
    found = defaultdict(list)
    for one in books.records(f"{AGREEMENTS}/{{id}}/additions"):
        found[one["agreementId"]].append(one)
    return found


def invoice_day(books: Books, product: dict[str, Any]) -> date | None:
    """When a product was invoiced, else bought."""
    invoices = books.tenant.records(INVOICES)
    invoice = invoices.get(ref(product, "invoice"))
    return day(invoice["date"]) if invoice else day(product.get("purchaseDate"))


def sold(books: Books) -> list[dict[str, Any]]:
    return [one for one in books.records(PRODUCTS) if not one["cancelledFlag"]]


def cost_of_additions(books: Books) -> Amounts:
    """By agreement and month, added up day by day."""
    until, cost = following(month(books.today())) - timedelta(days=1), amounts()
    extra = additions(books)
    for agreement in books.records(AGREEMENTS):
        per_bill = months_per_bill(books, agreement)
        for one in extra[agreement["id"]]:
            at = max(known(one["effectiveDate"]), known(agreement["startDate"]))
            end = last_day(agreement, until)
            if "cancelledDate" in one:
                end = min(end, known(one["cancelledDate"]) - timedelta(days=1))
            while at <= end:
                days = (following(month(at)) - month(at)).days
                cost[agreement["id"], month(at)] += money(one["extCost"]) / per_bill / days
                at += timedelta(days=1)
    return cost


def test_agreements_earn_by_invoice_and_cost_by_day_and_hour(books: Books) -> None:
    def of(path: str) -> list[dict[str, Any]]:
        return [one for one in books.records(path) if "agreement" in one]

    def on(one: dict[str, Any]) -> Any:
        return ref(one, "agreement"), month(known(one["date"]))

    def worked(one: dict[str, Any]) -> Any:
        return ref(one, "agreement"), month(local(one["timeStart"]))

    cost = cost_of_additions(books)
    billed = summed(of(INVOICES), on, lambda one: signed(one, "subtotal"))
    expenses = summed(of(EXPENSES), on, lambda one: money(one["amount"]))
    labour_cost = summed(of(TIME), worked, labour)
    hours = summed(of(TIME), worked, lambda one: money(one["actualHours"]))
    hours_billed = summed(of(TIME), worked, lambda one: money(one["hoursBilled"]))
    covered = summed(of(TIME), worked, lambda one: money(one["agreementHours"]))
    assert sum(covered.values()) > 0
    shown = {(row["agreement_id"], row["month"]): row for row in books.view("kpi_agreement_month")}
    assert {*billed, *cost, *hours, *expenses} <= set(shown)
    for key, row in shown.items():
        assert near(row["revenue_billed"], billed[key]), key
        assert near(row["additions_cost"], cost[key]), key
        assert near(row["labour_cost"], labour_cost[key]), key
        assert near(row["other_cost"], expenses[key]), key
        profit = billed[key] - cost[key] - labour_cost[key] - expenses[key]
        assert near(row["profit"], profit), key
        assert near(row["hours_actual"], hours[key]), key
        assert near(row["hours_billed"], hours_billed[key]), key
        assert ratio(row["margin"], profit, billed[key]), key
        earned = billed[key] - cost[key]
        assert ratio(row["effective_rate_actual"], earned, hours[key]), key
        # What an agreement covers was rounded for billing too, and counts once.
        assert near(row["hours_rounded"], hours_billed[key]), key
        assert near(row["hours_agreement"], covered[key]), key
        assert ratio(row["effective_rate_rounded"], earned, hours_billed[key]), key
        assert ratio(row["contribution_rate"], profit, hours[key]), key


def mrr_by_month(books: Books) -> dict[tuple[int, date], Decimal]:
    """Monthly recurring revenue by company at the end of each month, today in this one."""
    extra, found = additions(books), amounts()
    raised, before = books.raised
    for agreement in books.records(AGREEMENTS):
        at = month(day(agreement["startDate"]) or date.max)
        while at <= books.today():
            end = min(following(at) - timedelta(days=1), books.today())
            if (day(agreement["startDate"]) or end) <= end <= last_day(agreement, end):
                this_month = at == month(books.today())
                amount = money(agreement["billAmount"])
                if agreement["id"] == raised and not this_month:
                    amount = before
                for one in extra[agreement["id"]]:
                    gone = day(one.get("cancelledDate"))
                    runs = (day(one["effectiveDate"]) or end) <= end and (not gone or gone > end)
                    if runs and one["billCustomer"] == "Billable":
                        amount += money(one["extPrice"])
                key = (ref(agreement, "company"), at)
                found[key] += amount / months_per_bill(books, agreement)
            at = following(at)
    return dict(found)


def test_recurring_revenue_is_what_ran_at_the_end_of_the_month(books: Books) -> None:
    true = mrr_by_month(books)
    shown = {
        (row["company_id"], row["month"]): row["mrr"]
        for row in books.view("kpi_mrr_month", "where mrr <> 0")
    }
    assert set(shown) == set(true)
    for key, amount in true.items():
        assert near(shown[key], amount), key


def test_an_agreement_cancelled_in_mid_month_churns_in_that_month(books: Books) -> None:
    cancelled = [one for one in books.records(AGREEMENTS) if one["cancelledFlag"]]
    assert any((day(one["dateCancelled"]) or date.max).day not in {1, 31} for one in cancelled)
    shown = {(row["agreement_id"], row["month"]) for row in books.view("fct_mrr_month")}
    for one in cancelled:
        gone = month(day(one["dateCancelled"]) or date.max)
        assert (one["id"], gone) not in shown
        assert (one["id"], month(gone - timedelta(days=1))) in shown


def test_what_moved_recurring_revenue_adds_up(books: Books) -> None:
    true = mrr_by_month(books)
    rows = books.view("kpi_mrr_month")
    for row in rows:
        key = (row["company_id"], row["month"])
        now = true.get(key, Decimal())
        before = true.get((key[0], month(key[1] - timedelta(days=1))), Decimal())
        moves = {
            "mrr_new": now if not before else 0,
            "mrr_churn": -before if not now else 0,
            "mrr_expansion": max(now - before, Decimal()) if before else 0,
            "mrr_contraction": min(now - before, Decimal()) if now else 0,
        }
        assert near(row["arr"], 12 * now), key
        assert near(row["mrr_before"], before), key
        for name, amount in moves.items():
            assert near(row[name], amount), (key, name)
    assert sum(row["mrr_new"] > 0 for row in rows) > 3
    assert sum(row["mrr_churn"] < 0 for row in rows) >= 1


def test_a_raised_agreement_does_not_rewrite_the_past(books: Books) -> None:
    raised, before = books.raised
    rows = books.view("fct_mrr_month", f"where agreement_id = {raised} order by month desc limit 2")
    per_bill = months_per_bill(books, books.tenant.get(AGREEMENTS, raised))
    assert near(rows[0]["mrr_base"], (before + 1000) / per_bill)
    assert near(rows[1]["mrr_base"], before / per_bill)


def test_receivables_age_from_the_due_date_and_credits_reduce_them(books: Books) -> None:
    true: dict[int, Amounts] = defaultdict(amounts)
    credits_open = 0
    for one in books.records(INVOICES):
        late = (books.today() - (day(one["dueDate"]) or date.min)).days
        bucket = "not_due"
        for limit, name in ((0, "1_30"), (30, "31_60"), (60, "61_90"), (90, "91")):
            if late > limit:
                bucket = f"overdue_{name}"
        if one["balance"]:
            true[ref(one, "company")][bucket] += signed(one, "balance")
            true[ref(one, "company")]["balance"] += signed(one, "balance")
            credits_open += one["type"] == "CreditMemo"
    rows = books.view("kpi_ar_aging")
    assert {row["company_id"] for row in rows} == set(true)
    for row in rows:
        for name in (
            "balance",
            "not_due",
            "overdue_1_30",
            "overdue_31_60",
            "overdue_61_90",
            "overdue_91",
        ):
            assert row[name] == true[row["company_id"]][name], (row, name)
    (dso,) = books.view("kpi_dso")
    owed = sum((own["balance"] for own in true.values()), Decimal())
    since = books.today() - timedelta(days=90)
    lately = sum(
        (signed(one, "total") for one in books.records(INVOICES) if known(one["date"]) > since),
        Decimal(),
    )
    assert dso["balance"] == owed
    assert near(dso["dso_days"], owed / (lately / 90))


def test_credit_memos_count_against_revenue_whatever_their_sign(books: Books) -> None:
    memos = [one for one in books.records(INVOICES) if one["type"] == "CreditMemo"]
    assert memos
    shown = {row["invoice_id"]: row for row in books.view("fct_invoice", "where is_credit")}
    assert {own: row["subtotal"] for own, row in shown.items()} == {
        one["id"]: signed(one, "subtotal") for one in memos
    }
    assert {money(one["subtotal"]) > 0 for one in memos} == {True, False}


def test_clients_are_worth_all_revenue_less_all_cost(books: Books) -> None:
    def on(one: dict[str, Any]) -> Any:
        return ref(one, "company"), month(known(one["date"]))

    def worked(one: dict[str, Any]) -> Any:
        return ref(one, "company"), month(local(one["timeStart"]))

    def delivered(one: dict[str, Any]) -> Any:
        return ref(one, "company"), month(invoice_day(books, one) or date.min)

    work = [one for one in books.records(TIME) if one["chargeToType"] != "ChargeCode"]
    true: dict[str, Amounts] = {
        "revenue": summed(books.records(INVOICES), on, lambda one: signed(one, "subtotal")),
        "labour_cost": summed(work, worked, labour),
        "hours_actual": summed(work, worked, lambda one: money(one["actualHours"])),
        "expense_cost": summed(books.records(EXPENSES), on, lambda one: money(one["amount"])),
        "product_cost": summed(sold(books), delivered, lambda one: money(one["extCost"])),
        "additions_cost": amounts(),
    }
    agreements = {one["id"]: ref(one, "company") for one in books.records(AGREEMENTS)}
    for row in books.view("fct_agreement_month"):
        true["additions_cost"][agreements[row["agreement_id"]], row["month"]] += row[
            "additions_cost"
        ]
    shown = {(row["company_id"], row["month"]): row for row in books.view("kpi_client_month")}
    assert len(shown) == len(books.view("kpi_client_month"))
    assert {key for own in true.values() for key in own} <= set(shown)
    for key, row in shown.items():
        for name, own in true.items():
            assert near(row[name], own[key]), (key, name)
        cost = sum(own[key] for name, own in true.items() if name.endswith("_cost"))
        assert near(row["profit"], true["revenue"][key] - cost), key
        assert ratio(row["margin"], true["revenue"][key] - cost, true["revenue"][key]), key
        assert ratio(row["revenue_per_hour"], true["revenue"][key], true["hours_actual"][key]), key


def unit_of(books: Books, one: dict[str, Any]) -> tuple[int, int, int]:
    """Board of its ticket, our department and our location."""
    tickets = books.tenant.records(TICKETS) | books.tenant.records(PROJECT)
    own = ref(one, "ticket") if "ticket" in one else one.get("chargeToId", -1)
    board = ref(tickets[own], "board") if own in tickets else -1
    if "department" in one:
        return board, ref(one, "department"), ref(one, "location")
    return board, one.get("businessUnitId") or -1, one.get("locationId") or -1


def test_work_on_no_invoice_is_unbilled(books: Books) -> None:
    true = amounts()
    count: Counter[Any] = Counter()
    lists = (
        ("time", books.records(TIME), "extendedInvoiceAmount", lambda one: local(one["timeStart"])),
        ("expense", books.records(EXPENSES), "invoiceAmount", lambda one: day(one["date"])),
        ("product", sold(books), "extPrice", lambda one: day(one.get("purchaseDate"))),
    )
    written_off = covered = 0
    for kind, records, price, of in lists:
        for one in records:
            if one["billableOption"] != "Billable" or "invoice" in one:
                continue
            gone = one.get("status") == "WrittenOff"
            ours = one.get("agreementHours", 0) > 0 and not one[price]
            written_off, covered = written_off + gone, covered + ours
            if not gone and not ours:
                age = (books.today() - of(one)).days if of(one) else 999
                bucket = next(b for at, b in _AGES if age <= at)
                key = (ref(one, "company"), kind, bucket, *unit_of(books, one))
                true[key] += money(one[price])
                count[key] += 1
    assert written_off
    assert covered
    shown, items = amounts(), Counter[Any]()
    for row in books.view("kpi_unbilled"):
        key = (row["company_id"], row["kind"], row["age_bucket"])
        key += (row["board_id"], row["department_id"], row["location_id"])
        shown[key] += row["revenue"]
        items[key] += row["items"]
    assert shown == true
    assert items == count
    for kind in ("time", "expense", "product"):
        assert len({key[4:] for key in items if key[1] == kind}) > 2, "departments and locations"


_AGES = ((30, "0-30"), (60, "31-60"), (90, "61-90"), (10**9, "91+"))


def opportunities(books: Books) -> list[dict[str, Any]]:
    """Opportunities with the revenue, the probability and the flags that stand elsewhere."""
    states = {one["id"]: one for one in books.records("/sales/opportunities/statuses")}
    chances = {one["id"]: one["probability"] for one in books.records("/sales/probabilities")}
    forecast = {one["id"]: one for one in books.records("/sales/opportunities/{id}/forecast")}
    return [
        {
            **one,
            "state": states[ref(one, "status")],
            "revenue": money(forecast[one["id"]]["forecastRevenueTotals"]["revenue"]),
            "recurring": money(forecast[one["id"]].get("recurringTotal")),
            "chance": money(chances[ref(one, "probability")]),
        }
        for one in books.records("/sales/opportunities")
    ]


def test_the_pipeline_is_open_forecasts_times_probability(books: Books) -> None:
    worth, weighted, recurring = amounts(), amounts(), amounts()
    count: Counter[Any] = Counter()
    for one in opportunities(books):
        if not one["state"]["closedFlag"]:
            key = (ref(one, "stage"), month(day(one["expectedCloseDate"]) or date.min))
            worth[key] += one["revenue"]
            weighted[key] += one["revenue"] * one["chance"] / 100
            recurring[key] += one["recurring"]
            count[key] += 1
    shown = {(row["opportunity_stage_id"], row["month"]): row for row in books.view("kpi_pipeline")}
    assert {key: row["revenue"] for key, row in shown.items()} == worth
    for key, row in shown.items():
        assert near(row["weighted_revenue"], weighted[key])
        assert row["recurring_revenue"] == recurring[key]
        assert row["opportunities"] == count[key]


def test_sales_are_won_over_won_and_lost_by_local_month(books: Books) -> None:
    won: Counter[Any] = Counter()
    lost: Counter[Any] = Counter()
    revenue, lost_revenue = amounts(), amounts()
    cycles: dict[Any, list[float]] = defaultdict(list)
    for one in opportunities(books):
        if one["state"]["closedFlag"] and "closedDate" in one:
            key = (ref(one, "primarySalesRep"), month(local(one["closedDate"])))
            won[key] += one["state"]["wonFlag"]
            lost[key] += one["state"]["lostFlag"]
            revenue[key] += one["revenue"] if one["state"]["wonFlag"] else 0
            lost_revenue[key] += one["revenue"] if one["state"]["lostFlag"] else 0
            if one["state"]["wonFlag"]:
                began = datetime.fromisoformat(one["dateBecameLead"])
                took = datetime.fromisoformat(one["closedDate"]) - began
                cycles[key].append(took / timedelta(days=1))
    shown = {(row["member_id"], row["month"]): row for row in books.view("kpi_sales_month")}
    assert set(shown) == set(won)
    for key, row in shown.items():
        assert (row["opportunities_won"], row["opportunities_lost"]) == (won[key], lost[key])
        assert row["revenue_won"] == revenue[key]
        assert row["revenue_lost"] == lost_revenue[key]
        shown_days = row["average_cycle_days"]
        assert near(shown_days, mean(cycles[key])) if cycles[key] else shown_days is None
        rate = row["win_rate"]
        decided = won[key] + lost[key]
        assert rate is None if not decided else near(rate, won[key] / decided)


def test_projects_against_their_budget(books: Books) -> None:
    hours, cost, revenue = amounts(), amounts(), amounts()
    billed = summed(
        books.records(INVOICES),
        lambda one: ref(one, "project"),
        lambda one: signed(one, "subtotal"),
    )
    rounded = summed(
        books.records(TIME), lambda one: ref(one, "project"), lambda one: money(one["hoursBilled"])
    )
    for one in books.records(TIME):
        if "project" in one:
            hours[ref(one, "project")] += money(one["actualHours"])
            cost[ref(one, "project")] += labour(one)
            if one["billableOption"] == "Billable":
                revenue[ref(one, "project")] += money(one["extendedInvoiceAmount"])
    for one in books.records(EXPENSES):
        if "project" in one:
            cost[ref(one, "project")] += money(one["amount"])
            if one["billableOption"] == "Billable":
                revenue[ref(one, "project")] += money(one["invoiceAmount"])
    shown = {row["project_id"]: row for row in books.view("kpi_project")}
    assert set(shown) == {one["id"] for one in books.records("/project/projects")}
    for one in books.records("/project/projects"):
        row, own = shown[one["id"]], one["id"]
        assert row["hours_actual"] == hours[own]
        assert near(row["budget_used"], hours[own] / money(one["budgetHours"]))
        assert row["is_over_budget"] == (hours[own] > money(one["budgetHours"]))
        assert near(row["cost"], cost[own])
        assert near(row["profit_worked"], revenue[own] - cost[own])
        assert row["hours_billed"] == rounded[own]
        assert row["revenue_billed"] == billed[own]
        assert near(row["profit_billed"], billed[own] - cost[own])
        assert ratio(row["hours_at_completion"], hours[own], money(one["percentComplete"]))
        planned = day(one["estimatedEnd"]) or date.min
        ended = day(one.get("actualEnd")) or max(books.today(), planned)
        assert row["days_late"] == (ended - planned).days


def test_what_makes_the_numbers_wrong_is_counted(books: Books) -> None:
    shown = {row["check_name"]: row for row in books.view("kpi_data_readiness")}
    members = {one["id"] for one in books.records("/system/members")}
    entries = books.records(TIME)
    strangers = sum(ref(one, "member") not in members for one in entries)
    assert strangers
    row = shown["time entries of members that are not listed"]
    assert (row["affected"], row["total"]) == (strangers, len(entries))
    done = [one for one in books.service() if one["closedFlag"]]
    times = books.entries_by_ticket()
    idle = sum(not times[one["id"]] for one in done)
    assert shown["closed tickets without time"]["affected"] == idle
    unowned = sum("owner" not in one for one in books.service() if not one["closedFlag"])
    assert shown["open tickets without owner"]["affected"] == unowned
    types = [one for one in books.records("/time/workTypes") if not one["inactiveFlag"]]
    assert shown["work types without utilization flag"]["total"] == len(types)


def test_every_view_tells_how_old_it_is(books: Books) -> None:
    rows = {row["name"]: row for row in books.view("freshness")}
    views = books.ask(
        "select relname from pg_class where relnamespace = 'reporting'::regnamespace"
        " and relkind in ('r', 'v') and relname not like 'cf_%' and relname <> 'access'"
    )
    assert set(rows) == {row["relname"] for row in views}
    marks = {
        row["entity"]: row["data_complete_through"]
        for row in books.ask("select * from cw_sync.freshness")
    }
    assert rows["dim_board"]["data_complete_through"] == marks["service/boards"]
    ticket = rows["fct_ticket_all"]
    oldest = min(marks[name] for name in ("service/tickets", "project/tickets", "time/entries"))
    assert ticket["data_complete_through"] == oldest
    assert rows["kpi_backlog_daily"]["data_complete_through"] <= oldest
    assert all(row["missing_entities"] is None for row in rows.values())
